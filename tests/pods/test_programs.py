"""The two halves of a step as separate programs have the bits of the one program."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model import tuning
from palmetto.model.experts.router import Routing
from palmetto.parallel.sharding import Sharding
from palmetto.pods.assignment import leaves_of
from palmetto.pods.parcels import fingerprint
from palmetto.pods.programs import Programs, metrics_from, named_metrics, of_one_pod, on_host
from palmetto.recipe import Recipe
from palmetto.tokens.objectives import make_examples
from palmetto.training.step.loss import Batch
from palmetto.training.step.state import State, initial_state
from palmetto.training.step.update import Metrics, make_step, mean_target_count
from tests.conftest import RecipeMaker, need_devices

LEAVES, STEPS = 4, 20


def batches(recipe: Recipe) -> Iterator[Batch]:
    """Yields random batches with a leaf axis and a micro-batch axis."""
    random = np.random.default_rng(0)
    for step in range(STEPS):
        windows = random.integers(0, 300, (2 * LEAVES, recipe.tokens.sequence_length + 1), dtype=np.int32)
        arrays: Any = (windows,)
        if recipe.training.objective.name != "causal":
            arrays = make_examples(
                recipe.training.objective,
                windows,
                np.arange(2 * LEAVES) + 2 * LEAVES * step,
                seed=0,
                vocabulary_size=300,
                eod=1,
            )
        batch: Batch = jax.tree.map(lambda array: array.reshape(LEAVES, 2, *array.shape[1:]), Batch(*arrays))
        yield batch


def whole(recipe: Recipe) -> tuple[State, Metrics]:
    """Returns the state and the last metrics after steps of the one program, on the recipe's devices."""
    sharding = Sharding(recipe)
    on_cpu = tuning.for_platform("cpu", recipe.mesh)
    step, state = make_step(recipe, on_cpu, sharding), initial_state(recipe, sharding)
    for batch in batches(recipe):
        state, metrics = step(state, *sharding.everywhere((batch, jnp.float32(1e-2))))
    return state, metrics


def in_parts(recipe: Recipe, parts: int) -> tuple[State, Metrics]:
    """Returns the same, computed part by part, with the sums copied through the host."""
    programs = Programs(recipe, parts)
    state = initial_state(recipe, programs.sharding)
    for batch in batches(recipe):
        target_count = None if (scored := mean_target_count(batch)) is None else np.asarray(scored)
        shares = []
        for part in range(parts):
            leaves = leaves_of(part, parts, LEAVES)
            shares.append(jax.tree.map(lambda array, leaves=leaves: array[leaves.start : leaves.stop], batch))
        programs.compile(shares[0])
        sums = [programs.place_sums(on_host(programs.gradients(state, share, target_count))) for share in shares]
        state, metrics = programs.update(state, tuple(sums), np.float32(1e-2))
    return state, metrics


def bits(state: State, metrics: Metrics) -> tuple[str, str]:
    return fingerprint(on_host(state)), fingerprint(named_metrics(metrics).values())


@pytest.mark.slow
def test_separate_parts_have_the_bits_of_the_whole(tiny_recipe: RecipeMaker) -> None:
    expected = bits(*whole(tiny_recipe()))
    assert bits(*in_parts(tiny_recipe(), 2)) == expected
    assert bits(*in_parts(tiny_recipe(), 4)) == expected
    need_devices(2)
    of_two_devices = of_one_pod(tiny_recipe("mesh={pod: 2, data: 2}"))
    assert of_two_devices.mesh.devices == 2
    assert bits(*in_parts(of_two_devices, 2)) == expected


@pytest.mark.slow
def test_separate_parts_of_a_float16_prefix_model_match(tiny_recipe: RecipeMaker) -> None:
    recipe = tiny_recipe(
        "model.layers=1",
        "training.objective.name=prefix",
        "model.activations=float16",
        "training.loss_scale={initial: 1048576, growth_interval: 4}",
    )
    assert bits(*in_parts(recipe, 2)) == bits(*whole(recipe))


@pytest.mark.slow
def test_separate_parts_on_a_sequence_mesh_match(tiny_recipe: RecipeMaker) -> None:
    need_devices(2)
    recipe = tiny_recipe("model.layers=1", "mesh.sequence=2")
    assert bits(*in_parts(recipe, 2)) == bits(*whole(recipe))


def test_metrics_are_unchanged_by_a_message() -> None:
    scalars = map(jnp.float32, range(10))
    routing = Routing(jnp.arange(4.0), next(scalars), next(scalars), next(scalars), next(scalars))
    metrics = Metrics(next(scalars), next(scalars), next(scalars), next(scalars), jnp.bool_(True), routing, None)
    back = metrics_from(named_metrics(metrics))
    assert str(jax.tree.structure(back)) == str(jax.tree.structure(metrics))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(metrics), strict=True))
