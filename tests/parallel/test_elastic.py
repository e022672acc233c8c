"""Tests that parameters and optimizer state have one digest on any number of data-parallel devices and pods.

It also tests that memory falls with the part of the state that devices divide.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model import tuning
from palmetto.model.tuning import Tuning
from palmetto.native.library import kernels
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe.mesh import Mesh
from palmetto.training.digest import tree
from palmetto.training.step import state as states
from palmetto.training.step.loss import Batch
from palmetto.training.step.state import State, initial_state
from palmetto.training.step.update import Metrics, TrainStep, make_step
from tests.conftest import RecipeMaker
from tests.references.quickly import QUICKLY

pytestmark = [pytest.mark.slow, pytest.mark.optimized]

EVEN = (8,) * 12
RAMP = EVEN + (16,) * 8
"""The number of leaves in each step, alike and with a ramp; each number is a program to compile."""


class Trained(NamedTuple):
    digests: dict[int, str]
    """The digest of the state after the last step with each number of leaves, by the step."""
    metrics: list[Metrics]
    """The metrics of each step."""


DRAWN: dict[str, State] = {}
"""The initial states as NumPy arrays, drawn on one device, by the digest of their recipe."""


def start(recipe: Recipe, sharding: Sharding) -> State:
    """Returns the state before the first step; it is cached, and compared between meshes in a test of its own."""
    if recipe.digest not in DRAWN:
        alone = recipe.model_copy(update={"mesh": Mesh()})
        DRAWN[recipe.digest] = jax.device_get(initial_state(alone))
    state = jax.tree.map(np.array, DRAWN[recipe.digest])  # a step donates its input
    placed: State = jax.device_put(state, states.places(recipe, sharding))
    return placed


def train(
    recipe: Recipe, batches: tuple[int, ...] = RAMP, on: Tuning = tuning.CPU, step: TrainStep | None = None
) -> Trained:
    """Returns the result of training on the same batches, on the recipe's mesh."""
    sharding = Sharding(recipe)
    state, step = start(recipe, sharding), step or make_step(recipe, on, sharding)
    random, digests, measured = np.random.default_rng(0), dict[int, str](), list[Metrics]()
    for number, (leaves, following) in enumerate(zip(batches, (*batches[1:], 0), strict=True), 1):
        shape = (leaves, recipe.training.micro_batch, recipe.model_length + 1)
        batch = Batch(random.integers(0, recipe.tokens.vocabulary_size, shape, dtype=np.int32))  # type: ignore[arg-type]
        rate = jnp.asarray(np.float32(1e-2))
        state, metrics = jax.block_until_ready(step(state, *sharding.everywhere((batch, rate))))
        measured.append(jax.device_get(metrics))
        if following != leaves:
            digests[number] = digest_of(state)
    return Trained(digests, measured)


def digest_of(state: State) -> str:
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    return tree({jax.tree_util.keystr(path): array for path, array in flat})


def on(recipe: RecipeMaker, mesh: str, *overrides: str) -> Recipe:
    """Returns a tiny recipe with a vocabulary that eight devices divide, on a mesh such as `data=2 zero=1`."""
    sizes = [f"mesh.{part}" for part in mesh.split()]
    return recipe("tokens.vocabulary_size=320", "training.batch_size=16", *overrides, *sizes)


@pytest.mark.parametrize("mesh", ["data=2 zero=2", "data=8", "pod=2 data=2 zero=1", "model=2"])
def test_every_mesh_draws_the_same_initial_state(tiny_recipe: RecipeMaker, mesh: str) -> None:
    recipe = on(tiny_recipe, mesh)
    sharding = Sharding(recipe)
    assert digest_of(initial_state(recipe, sharding)) == digest_of(start(recipe, sharding))


@pytest.fixture(scope="module")
def alone(tiny_recipe: RecipeMaker) -> Trained:
    """Returns twenty steps on one device under Adafactor, with every gradient clipped and a batch ramp."""
    trained = train(on(tiny_recipe, "", "training.clip=0.1"))
    assert trained.metrics[-1].grad_norm > 0.1, "the clipping must clip"
    return trained


@pytest.mark.parametrize(
    ("mesh", "batches"),
    [
        ("data=2 zero=2", RAMP),
        ("data=4", EVEN),
        ("data=8", EVEN),
        ("pod=2 data=2 zero=1", RAMP),
        ("pod=4 zero=0", EVEN),
    ],
)
def test_any_number_of_devices_and_pods_has_one_digest(
    tiny_recipe: RecipeMaker, alone: Trained, mesh: str, batches: tuple[int, ...]
) -> None:
    trained = train(on(tiny_recipe, mesh, "training.clip=0.1"), batches)
    assert trained.digests.items() <= alone.digests.items()
    assert trained.metrics == alone.metrics[: len(batches)]


MODELS = {
    "serial, grouped-query, T5, GEGLU, biases; bfloat16, AdamW, less kept": (
        "model.layers=1",
        "model.positions={name: t5}",
        "model.key_value_heads=2",
        "model.feedforward=geglu",
        "model.block=serial",
        "model.biases=true",
        "model.norm_bias=true",
        "model.activations=bfloat16",
        "training.optimizer={name: adamw}",
        "training.rematerialize=projections",
    ),
    "learned positions, untied, experts; factored Adafactor": (
        "model.layers=1",
        "training.optimizer={factored: true, momentum: 0, update_clip: 1.0}",
        "model.positions={name: learned, length: 16}",
        "model.tied_embedding=false",
        "model.experts={count: 4, every: 1, capacity_factor: 1.25}",
    ),
}


LONE_LEAVES = {
    "bfloat16, untied": ("model.activations=bfloat16", "model.tied_embedding=false"),
    "float16, blocks anew": ("model.activations=float16", "training.rematerialize=block"),
    "float32, biases and norms": (
        "model.positions={name: alibi}",
        "model.block=serial",
        "model.norm_position=post",
        "model.biases=true",
        "model.qk_norm=true",
    ),
}


@pytest.mark.parametrize("name", LONE_LEAVES)
def test_one_leaf_per_device_has_the_bits_of_several(tiny_recipe: RecipeMaker, name: str) -> None:
    trained = [train(on(tiny_recipe, mesh, "model.layers=1", *LONE_LEAVES[name]), (4,) * 6) for mesh in ("", "data=4")]
    assert trained[0] == trained[1]


@pytest.mark.parametrize("name", MODELS)
def test_other_models_and_optimizers_have_one_digest(tiny_recipe: RecipeMaker, name: str) -> None:
    digests = {mesh: train(on(tiny_recipe, mesh, *MODELS[name]), (8,) * 3).digests[3] for mesh in ("", "data=4")}
    assert len(set(digests.values())) == 1, digests


DATA, PODS = "data=4 zero=3", "pod=2 data=2 zero=1"
WITH_KERNELS = {
    "float32": ((), (DATA, PODS)),
    "bfloat16": (("model.activations=bfloat16",), (DATA,)),
    "bfloat16, less kept": (("model.activations=bfloat16", "training.rematerialize=projections"), (PODS,)),
    "float32, experts, untied": (
        ("model.tied_embedding=false", "model.experts={count: 4, every: 1, capacity_factor: 1.25}"),
        (DATA, PODS),
    ),
}


@pytest.mark.parametrize("name", WITH_KERNELS)
def test_products_by_our_kernels_have_one_digest(tiny_recipe: RecipeMaker, name: str) -> None:
    here = tuning.for_platform("cpu")
    if not here.native:
        pytest.skip(kernels().reason)
    overrides, meshes = WITH_KERNELS[name]
    recipes = {mesh: on(tiny_recipe, mesh, "model.layers=1", *overrides) for mesh in ("", *meshes)}
    digests = {mesh: train(recipe, (8,) * 3, here).digests[3] for mesh, recipe in recipes.items()}
    assert len(set(digests.values())) == 1, digests


def test_layers_under_a_scan_have_one_digest(tiny_recipe: RecipeMaker) -> None:
    """An accelerator's tuning runs the layers under a scan."""
    digests = {
        m: train(on(tiny_recipe, m), (8,) * 3, tuning.ACCELERATOR).digests[3] for m in ("", "pod=2 data=2 zero=1")
    }
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize(
    ("ending", "meshes"),
    [
        ("model.tied_embedding=false", ("", "stage=4 pod=2 zero=1 schedule=gpipe")),
        ("model.tied_embedding=true", ("stage=2", "stage=4 data=2 zero=2")),
    ],
    ids=["untied", "tied"],
)
def test_pipelines_have_one_digest(tiny_recipe: RecipeMaker, ending: str, meshes: tuple[str, ...]) -> None:
    """Two stages contribute to the gradient of a tied embedding, which one device sums in another order. Each stage
    has at least two layers: a scan over a single layer is compiled with other roundings.
    """
    recipes = {mesh: on(tiny_recipe, mesh, "model.layers=8", ending) for mesh in meshes}
    digests = {mesh: train(recipe, (8,) * 3, tuning.ACCELERATOR).digests[3] for mesh, recipe in recipes.items()}
    assert len(set(digests.values())) == 1, digests


def test_data_and_pods_are_elastic_with_a_model_axis(tiny_recipe: RecipeMaker) -> None:
    alone, ours, theirs = (
        train(on(tiny_recipe, mesh, "training.clip=0.1", "model.layers=1"), EVEN[:2])
        for mesh in ("", "model=2", "model=2 data=2 pod=2 zero=2")
    )
    assert ours == theirs
    for mine, one in zip(ours.metrics, alone.metrics, strict=True):
        assert np.allclose(mine.loss, one.loss, rtol=1e-6)
        assert np.allclose(mine.grad_norm, one.grad_norm, rtol=1e-5)


@pytest.mark.parametrize("zero", [0, 2, 3])
def test_fixed_runs_repeat_exactly_and_agree_to_rounding(tiny_recipe: RecipeMaker, alone: Trained, zero: int) -> None:
    recipe = on(tiny_recipe, f"data=4 zero={zero}", "training.clip=0.1", "training.reproducible=fixed")
    step = make_step(recipe, tuning.CPU, Sharding(recipe))
    trained = train(recipe, EVEN, step=step)
    for mine, one in zip(trained.metrics, alone.metrics, strict=False):
        assert np.allclose(mine.loss, one.loss, rtol=1e-6)
        assert np.allclose(mine.parameter_norm, one.parameter_norm, rtol=1e-6)
    assert train(recipe, EVEN, step=step) == trained


def compiled(recipe: Recipe) -> Any:
    sharding = Sharding(recipe)
    place = sharding.place()
    shape = (8, recipe.training.micro_batch, recipe.model_length + 1)
    batch = Batch(jax.ShapeDtypeStruct(shape, jnp.int32, sharding=place))  # type: ignore[arg-type]
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=place)
    step: Any = make_step(recipe, tuning.ACCELERATOR, sharding)
    return step.lower(states.shapes(recipe, sharding), batch, rate).compile(QUICKLY)


def test_memory_falls_with_the_zero_level(tiny_recipe: RecipeMaker) -> None:
    """Between steps there are three arrays of the model's size, the weights and two moments. Level 0 divides none of
    them over the four devices, level 1 the moments, level 3 all. Temporaries fall with gradients (2) and weights (3).
    """
    big = ("model.d_model=64", "model.layers=8", "tokens.vocabulary_size=320")
    memory = {zero: compiled(on(tiny_recipe, f"data=4 zero={zero}", *big)).memory_analysis() for zero in range(4)}
    at_rest = {zero: of.argument_size_in_bytes for zero, of in memory.items()}
    temporary = {zero: of.temp_size_in_bytes for zero, of in memory.items()}
    model = at_rest[0] / 3
    for zero, parts in ((1, 1 + 2 / 4), (2, 1 + 2 / 4), (3, 3 / 4)):
        assert at_rest[zero] == pytest.approx(parts * model, rel=0.02), zero
    assert temporary[2] < temporary[1] - 0.5 * model
    assert temporary[3] < temporary[2] - 0.5 * model


def test_stages_divide_the_layers(tiny_recipe: RecipeMaker) -> None:
    """Each stage holds the whole tied embedding."""
    big = ("model.d_model=64", "model.layers=8", "tokens.vocabulary_size=320")
    whole, divided = (compiled(on(tiny_recipe, mesh, *big)).memory_analysis() for mesh in ("", "stage=4"))
    ends = 3 * 4 * 64 * (320 + 1)
    layers = whole.argument_size_in_bytes - ends
    assert divided.argument_size_in_bytes == pytest.approx(ends + layers / 4, rel=0.02)


def test_a_model_axis_divides_weights_and_moments(tiny_recipe: RecipeMaker) -> None:
    big = ("model.d_model=64", "model.layers=8", "tokens.vocabulary_size=320")
    whole, divided = (compiled(on(tiny_recipe, mesh, *big)).memory_analysis() for mesh in ("", "model=2"))
    # Norms, and the keys and values of the single head, are whole on each device.
    assert divided.argument_size_in_bytes < 0.56 * whole.argument_size_in_bytes
