"""Tests expert parallelism: outputs, loss, gradients and steps agree with one device, and memory falls.

It also tests that rows reach their experts and return by all-to-all exchanges.
"""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from palmetto.errors import UserError
from palmetto.model import tuning
from palmetto.model.experts.mixture import mixture
from palmetto.model.experts.router import Routing
from palmetto.model.parameters import parameter_table
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe import mesh as recipe_mesh
from palmetto.recipe.model import Experts
from tests.conftest import RecipeMaker, slow_but
from tests.model.experts.test_mixture import activate
from tests.model.test_catalogue import some
from tests.parallel.test_sequence import gathers
from tests.references.quickly import QUICKLY
from tests.references.spread import (
    Taken,
    check_same,
    compile_gradient,
    make_recipe,
    on,
    some_batch,
    some_state,
    take_step,
)

B, T, D, F, E, TOP = 8, 12, 16, 20, 8, 2
"""Sequences in all, their length, and the sizes of a layer with experts."""

DROPLESS, CAPACITY = Experts(count=E, top=TOP), Experts(count=E, top=TOP, capacity_factor=0.75)
LAYOUTS = {"cpu": tuning.CPU, "accelerator": tuning.ACCELERATOR}


def some_layer(seed: int, favourite: float = 0.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns x [B, T, D] and a layer whose router favours the first two experts by `favourite`."""
    random = np.random.default_rng(seed)
    layer = {"router": random.normal(size=(D, E)) / 4}
    layer |= {name: random.normal(size=(E, D, F)) / 4 for name in ("expert_up", "expert_gate", "expert_down")}
    x = random.normal(size=(B, T, D))
    x[..., 0] = 1
    layer["router"][0, :TOP] += favourite
    return x.astype(np.float32), {name: array.astype(np.float32) for name, array in layer.items()}


def compiled(settings: Experts, of: tuning.Tuning, mesh: recipe_mesh.Mesh = recipe_mesh.ONE_DEVICE) -> Any:
    """Returns (x, layer, d) → output, routing and gradients of Σ y·d + 2·balance + 3·z, averaged over sequences."""

    def run(x: Any, layer: dict[str, Any], d: Any) -> tuple[Any, Routing, Any, dict[str, Any]]:
        def loss(x: Any, layer: dict[str, Any]) -> tuple[jax.Array, tuple[jax.Array, Routing]]:
            y, routing = mixture(x, layer, settings, activate, tuning=of, mesh=mesh)
            share = 1 / mesh.expert
            return jnp.sum(y * d) + share * (2 * routing.balance + 3 * routing.z), (y, routing)

        (dx, dlayer), (y, routing) = jax.grad(loss, argnums=(0, 1), has_aux=True)(x, layer)
        if mesh.expert > 1:
            dlayer["router"] = jax.lax.psum(dlayer["router"], "expert")
            routing = jax.lax.pmean(routing, "expert")
        if mesh.sequence > 1:
            dlayer, routing = jax.lax.psum((dlayer, routing), "sequence")
        return y, routing, dx, dlayer

    if mesh.expert * mesh.sequence > 1:
        devices = np.array(jax.devices()[: mesh.expert * mesh.sequence]).reshape(mesh.expert, mesh.sequence)
        tokens, whole = PartitionSpec("expert", "sequence"), PartitionSpec()
        kernels = {name: PartitionSpec("expert") for name in ("expert_up", "expert_gate", "expert_down")}
        of_layer = {"router": whole} | kernels
        run = jax.shard_map(
            run,
            mesh=Mesh(devices, ("expert", "sequence")),
            in_specs=(tokens, of_layer, tokens),
            out_specs=(tokens, whole, tokens, of_layer),
            check_vma=False,
        )
    return jax.jit(run, compiler_options=QUICKLY)


@functools.cache
def alone(settings: Experts, arrangement: str) -> Any:
    return compiled(settings, LAYOUTS[arrangement])


def check_mixture(
    settings: Experts, arrangement: str, *, experts: int, sequence: int = 1, favourite: float = 0.0
) -> Routing:
    x, layer = some_layer(0, favourite)
    d = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    expected = alone(settings, arrangement)(x, layer, d)
    given = compiled(settings, LAYOUTS[arrangement], recipe_mesh.Mesh(expert=experts, sequence=sequence))(x, layer, d)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), given, expected)
    routing: Routing = given[1]
    return routing


@pytest.mark.parametrize("arrangement", slow_but(["cpu"], LAYOUTS))
@pytest.mark.parametrize("settings", [DROPLESS, CAPACITY], ids=["dropless", "capacity"])
def test_output_routing_and_gradients_agree_with_one_device(settings: Experts, arrangement: str) -> None:
    routing = check_mixture(settings, arrangement, experts=4)
    assert (routing.dropped > 0) == (settings is CAPACITY)


def test_a_shared_sequence_keeps_its_first_assignments() -> None:
    """If four devices share a sequence, its first assignments are kept, on whatever device they are."""
    assert check_mixture(CAPACITY, "accelerator", experts=2, sequence=4).dropped > 0


def test_dropless_routing_keeps_all_tokens_of_favourite_experts() -> None:
    """The first two experts, both on one of four devices, take every token."""
    routing = check_mixture(DROPLESS, "cpu", favourite=40.0, experts=4)
    np.testing.assert_array_equal(routing.load[:TOP], [0.5, 0.5])
    assert routing.dropped == 0


MODELS = {
    "glam": some(
        "t5",
        key_value_heads=4,
        block="serial",
        norm="rms",
        feedforward="geglu",
        experts={"count": 4, "feedforward": "gelu", "capacity_factor": 1.0, "balance_loss": 0.3},
    ),
    "dropless": some(layers=1, experts={"count": 4, "every": 1, "router_z_loss": 0.2}),
}
ARRANGEMENTS = {"glam": tuning.ACCELERATOR, "dropless": tuning.CPU}
GLAM_STEP = {"name": "adafactor", "momentum": 0.0, "factored": True, "weight_decay": False, "update_clip": 1.0}
TWO_D = {"data": 2, "expert": 2, "model": 2}
"""One expert's weights over four devices, as in GLaM."""


def recipe_of(name: str, mesh: dict[str, int]) -> Recipe:
    return on(make_recipe(MODELS[name], optimizer=GLAM_STEP), **mesh)


@functools.cache
def program(name: str, **mesh: int) -> tuple[jax.stages.Compiled, Any]:
    recipe = recipe_of(name, mesh)
    return compile_gradient(recipe, ARRANGEMENTS[name], some_batch(recipe))


@functools.cache
def gradient(name: str, **mesh: int) -> Taken:
    run, arguments = program(name, **mesh)
    taken: Taken = jax.device_get(run(*arguments))
    return taken


CASES: list[tuple[str, dict[str, int]]] = [
    ("glam", TWO_D),
    ("dropless", {"expert": 4}),
    ("dropless", {"data": 2, "expert": 2, "zero": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mesh"), CASES, ids=str)
def test_loss_and_gradients_agree_with_one_device(name: str, mesh: dict[str, int]) -> None:
    given = gradient(name, **mesh)
    assert given.losses.routing is not None
    assert np.all((given.losses.routing.dropped > 0) == (name == "glam")), "a capacity should bind"
    check_same(given, gradient(name))


@pytest.mark.slow
def test_a_whole_step_agrees_with_one_device() -> None:
    """The step uses GLaM's optimizer, and devices also share sequences."""
    recipes = [recipe_of("dropless", mesh) for mesh in ({}, {"data": 2, "expert": 2, "sequence": 2})]
    batch, start = some_batch(recipes[0]), some_state(recipes[0], Sharding(recipes[0])).parameters
    (one, reported), (other, also) = (take_step(recipe, tuning.CPU, batch, rate=0.01) for recipe in recipes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6), reported, also)
    for name, array in one.parameters.items():
        moved = np.linalg.norm(array - start[name])
        assert np.linalg.norm(other.parameters[name] - array) < 1e-4 * moved, name


@pytest.mark.slow
def test_a_device_holds_only_its_part_of_the_experts() -> None:
    recipe = recipe_of("glam", TWO_D)
    state = some_state(recipe, Sharding(recipe))
    layers, experts, width, inner = MODELS["glam"].layers // 2, 4, 16, 20
    for array, (rows, columns) in (
        (state.parameters["expert_up"], (width // 2, inner // 2)),
        (state.parameters["expert_down"], (inner // 2, width // 2)),
    ):
        assert array.sharding.shard_shape(array.shape) == (layers, experts // 2, rows, columns)
    for moments in (state.optimizer.moments["rows"], state.optimizer.moments["columns"]):
        array = moments["expert_up"]
        assert array.sharding.shard_shape(array.shape)[:2] == (layers, experts // 2)

    def held(name: str, **mesh: int) -> int:
        analysis = program(name, **mesh)[0].memory_analysis()
        assert analysis is not None
        return int(analysis.argument_size_in_bytes)

    table = parameter_table(recipe_of("dropless", {})).values()
    expert_bytes = sum(4 * of.size for of in table if "experts" in of.axes)
    assert held("dropless") - held("dropless", expert=4) == expert_bytes * 3 // 4


def exchanges(text: str) -> int:
    return len(re.findall(r" all-to-all\(", text))


@pytest.mark.slow
def test_all_to_all_exchanges_move_only_rows_and_counts() -> None:
    """There are two exchanges forward and their two inverses backward; packed rows also exchange their counts."""
    glam, dropless = program("glam", **TWO_D)[0].as_text(), program("dropless", expert=4)[0].as_text()
    assert glam is not None
    assert dropless is not None
    assert exchanges(glam) == 4
    assert exchanges(dropless) == 5
    assert gathers(dropless) == [], "of weights or activations along the axis of experts"


def test_an_indivisible_number_of_experts_is_refused(tiny_recipe: RecipeMaker) -> None:
    with pytest.raises(UserError, match=r"^mesh\.expert=4: must divide model\.experts\.count \(6\): 1 or 2 would do$"):
        tiny_recipe("mesh.expert=4", "model.experts={count: 6}")
    with pytest.raises(UserError, match=r"^mesh\.expert=2: must divide .*, and the model has no experts: 1 would do$"):
        tiny_recipe("mesh.expert=2")
    with pytest.raises(UserError, match=r"^mesh\.expert=3: must be a power of two"):
        tiny_recipe("mesh.expert=3", "model.experts={count: 6}")
