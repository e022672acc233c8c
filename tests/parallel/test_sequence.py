"""Tests sequence parallelism: attention of every kind, loss and gradients agree with one device.

It also tests that memory falls and that only keys and values are gathered.
"""

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback
from jax.sharding import Mesh, PartitionSpec

from palmetto.errors import UserError
from palmetto.model import tuning
from palmetto.model.attention import attention
from palmetto.model.attentions.full import FullAttention
from palmetto.model.attentions.local import LocalAttention
from palmetto.model.blocked import HIDDEN, blocked_attention, products
from palmetto.model.masks import block_pairs, visible
from palmetto.model.sequences import Sequences
from palmetto.recipe import Recipe
from palmetto.recipe import mesh as recipe_mesh
from palmetto.training.step.loss import Batch
from tests.conftest import RecipeMaker, slow_but
from tests.model.test_catalogue import POSITIONS, some
from tests.references.quickly import QUICKLY
from tests.references.spread import (
    LENGTH,
    Taken,
    check_same,
    compile_gradient,
    make_recipe,
    on,
    some_batch,
    take_gradient,
)

BLOCKS = tuning.CPU._replace(query_rows=3, kept_length=1, block_rows=5)
"""Blocks that fill neither a sequence nor a device's share of it."""


@dataclasses.dataclass(frozen=True)
class Kind:
    positions: str
    attention: str
    prefix: bool = False

    def __str__(self) -> str:
        return f"{self.attention} {self.positions}{' prefix' * self.prefix}"


KINDS = (
    Kind("rotary", "full"),
    Kind("alibi", "local"),
    Kind("t5", "strided"),
    Kind("transformer-xl", "full"),
    Kind("rotary", "sinks"),
    Kind("rotary", "parallel windows"),
    Kind("rotary", "memory"),
    Kind("t5 both ways", "full", prefix=True),
)


@pytest.mark.parametrize("kind", slow_but(KINDS[:2], KINDS), ids=str)
def test_attention_of_every_kind_agrees_with_one_device(kind: Kind) -> None:
    """Outputs and gradients of queries, keys, values and score parameters agree, with two key/value heads for four."""
    model = some(kind.positions, kind.attention)
    random = np.random.default_rng(0)
    q, d = random.normal(size=(2, 2, LENGTH, 4, 6)).astype(np.float32)
    k, v = random.normal(size=(2, 2, LENGTH, 2, 6)).astype(np.float32)
    prefix = jnp.array([9, 2]) if kind.prefix else None
    buckets = POSITIONS[kind.positions].get("buckets", 1)
    shapes = {"relative": (buckets, 4), "r": (16, 24), "u": (4, 6), "w": (4, 6)}
    learned = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}

    def run(mesh: recipe_mesh.Mesh, q: Any, k: Any, v: Any, learned: Any, d: Any) -> Any:
        def attend(learned: Any, q: Any, k: Any, v: Any) -> jax.Array:
            return attention(learned, q, k, v, model, model.attention_of(1), BLOCKS, Sequences(prefix), mesh)

        output, pull_back = jax.vjp(attend, learned, q, k, v)
        d_learned, *d_heads = pull_back(d)
        if mesh.sequence > 1:
            d_learned = jax.lax.psum(d_learned, "sequence")
        return output, d_heads, d_learned

    expected = jax.jit(functools.partial(run, recipe_mesh.ONE_DEVICE), compiler_options=QUICKLY)(q, k, v, learned, d)
    share, whole = PartitionSpec(None, "sequence"), PartitionSpec()
    mapped = jax.shard_map(
        functools.partial(run, recipe_mesh.Mesh(sequence=4)),
        mesh=Mesh(np.array(jax.devices()[:4]), ("sequence",)),
        in_specs=(share, share, share, whole, share),
        out_specs=(share, share, whole),
        check_vma=False,
    )
    given = jax.jit(mapped, compiler_options=QUICKLY)(q, k, v, learned, d)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), given, expected)


@pytest.mark.parametrize("kind", [FullAttention(), LocalAttention(window=9)], ids=lambda kind: kind.name)
def test_a_device_visits_only_visible_blocks_of_its_queries(kind: Any) -> None:
    length, rows = 48, 4
    pairs, share = block_pairs(kind, length, rows, rows), length // 4
    visits: list[tuple[int, int]] = []

    def scores(parameters: Any, constants: Any, q: Any, k: Any, queries: jax.Array, keys: jax.Array) -> jax.Array:
        io_callback(lambda i, j: visits.append((int(i) // rows, int(j) // rows)), None, queries[0], keys[0])
        return jnp.where(visible(kind, queries[:, None, None], keys), products(q, k), HIDDEN)

    @jax.jit
    def attend(q: jax.Array, k: jax.Array, first: jax.Array) -> jax.Array:
        return blocked_attention(scores, (), None, q, k, k, pairs, rows, rows, first)

    q, k = np.ones((1, 1, share, 2, 8), np.float32), np.ones((1, 1, length, 8), np.float32)
    for device in range(4):
        visits.clear()
        jax.block_until_ready(attend(q, k, jnp.int32(device * share // rows)))
        jax.effects_barrier()
        own = range(device * share // rows, (device + 1) * share // rows)
        assert sorted(visits) == [(i, j) for i, j in pairs.tolist() if i in own]


LEARNED = {"name": "learned", "length": LENGTH}
MODELS = {
    "palm": some(key_value_heads=1, layers=1),
    "learned": some(
        positions=LEARNED,
        layers=1,
        block="serial",
        biases=True,
        norm_bias=True,
        embedding_norm=True,
        tied_embedding=False,
    ),
}
CASES: list[tuple[str, dict[str, int]]] = [
    ("palm", {"data": 2, "sequence": 2}),
    ("palm", {"sequence": 2, "model": 2}),
    ("learned", {"sequence": 4}),
]


def recipe_of(name: str) -> Recipe:
    return make_recipe(MODELS[name])


def batch_for(name: str) -> Batch:
    """Returns a batch; with learned positions, only some tokens are scored and prefixes see themselves."""
    batch, random = some_batch(recipe_of(name)), np.random.default_rng(1)
    if name != "learned":
        return batch
    scored, prefix = random.random(batch.tokens.shape) < 0.6, random.integers(12, size=batch.tokens.shape[:2])
    return Batch(batch.tokens, scored, prefix.astype(np.int32))  # type: ignore[arg-type]


@functools.cache
def alone(name: str) -> Taken:
    return take_gradient(recipe_of(name), BLOCKS, batch_for(name))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mesh"), CASES, ids=str)
def test_loss_and_gradients_agree_with_one_device(name: str, mesh: dict[str, int]) -> None:
    recipe, batch = recipe_of(name), batch_for(name)
    given = take_gradient(on(recipe, **mesh), BLOCKS, batch)
    check_same(given, alone(name))


@pytest.mark.slow
def test_half_precision_agrees_with_one_device() -> None:
    """XLA's CPU code cannot sum half precision over devices: the process would abort here."""
    recipe = make_recipe(some(key_value_heads=1, layers=1, activations="bfloat16"))
    one, other = (take_gradient(on(recipe, sequence=size), BLOCKS).gradients for size in (1, 2))
    for name, gradient in one.items():
        assert np.linalg.norm(other[name] - gradient) < 0.01 * np.linalg.norm(gradient), name


def gathers(program: str) -> list[int]:
    """Returns the number of elements of each all-gather's result."""
    shapes = re.findall(r"= \w+\[([\d,]*)\]\S* all-gather\(", program)
    return [int(np.prod([int(size) for size in shape.split(",") if size])) for shape in shapes]


def long(devices: int) -> jax.stages.Compiled:
    """Returns a recipe of one layer with multi-query attention over 512 positions."""
    recipe = make_recipe(some(key_value_heads=1, layers=1), rematerialize="block")
    tokens = recipe.tokens.model_copy(update={"sequence_length": 512})
    recipe = on(recipe.model_copy(update={"tokens": tokens}), sequence=devices)
    compiled, _ = compile_gradient(recipe, tuning.CPU._replace(block_rows=64, logit_rows=64), some_batch(recipe))
    return compiled


def memory(program: jax.stages.Compiled) -> int:
    """Returns the temporary bytes of a device, without arguments and results."""
    analysis = program.memory_analysis()
    assert analysis is not None
    return int(analysis.temp_size_in_bytes)


@pytest.mark.slow
def test_memory_falls_and_only_keys_and_values_are_gathered() -> None:
    one, four = long(1), long(4)
    assert memory(four) < 0.4 * memory(one)
    text = four.as_text()
    assert text is not None
    batch, size, width = 2, 6, 16
    found = gathers(text)
    assert max(found) == batch * 512 * size < batch * 512 * width
    # The layer's keys and values, once forward and again for the backward pass.
    assert found.count(batch * 512 * size) == 4


def test_an_indivisible_sequence_length_is_refused(tiny_recipe: RecipeMaker) -> None:
    with pytest.raises(UserError, match=r"^mesh\.sequence=3: must divide the positions of an example \(16\): 2 or 4 "):
        tiny_recipe("mesh.sequence=3")
