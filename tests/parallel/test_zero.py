"""Tests ZeRO on four devices: partitions, gathered weights and reduced gradients at each level."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from palmetto.model.layout import Arranged, arrange, map_named, with_ends
from palmetto.model.tuning import CPU
from palmetto.parallel.sharding import Sharding, manual
from palmetto.parallel.zero import Zero
from tests.model.test_catalogue import some
from tests.references import catalogue
from tests.references.quickly import QUICKLY
from tests.references.spread import VOCABULARY, make_recipe, on

MODEL = some(layers=1, block="serial", biases=True, tied_embedding=False)
DEVICES = 4
DRAWN: Any = catalogue.draw(MODEL, VOCABULARY, 0)


def at_level(level: int) -> Sharding:
    return Sharding(on(make_recipe(MODEL), data=DEVICES, zero=level))


def run(sharding: Sharding, function: Any, arrays: Any, in_specs: Any, out_specs: Any) -> Any:
    return jax.jit(sharding.on_mesh(function, (in_specs,), out_specs), compiler_options=QUICKLY)(arrays)


def parameter_specs(axes: dict[str, Any]) -> dict[str, PartitionSpec]:
    return {name: manual(of) for name, of in axes.items()}


def arranged_specs(sharding: Sharding, arranged: Any, divided: bool) -> Any:
    def spec(name: str, array: Any) -> Any:
        place = sharding.arranged[name].data_dimension
        axes = [None] * array.ndim
        return PartitionSpec(*(axes if place is None or not divided else [*axes[:place], "data", *axes[place:][1:]]))

    return map_named(spec, arranged)


@pytest.mark.parametrize("level", range(4))
def test_gathered_partitions_are_the_parameters(level: int) -> None:
    sharding = at_level(level)
    zero, at_rest = Zero(sharding, "float32"), parameter_specs(sharding.at_rest)
    partition = run(sharding, zero.own_partition, DRAWN, at_rest, parameter_specs(sharding.updated))
    held = partition["embedding"].addressable_shards[0].data.size
    assert held * (DEVICES if level else 1) == DRAWN["embedding"].size
    whole = run(sharding, lambda p: zero.gather_partitions(zero.own_partition(p)), DRAWN, at_rest, at_rest)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, DRAWN[name], err_msg=name)


@pytest.mark.parametrize("whole_leaves", [False, True], ids=["by layer", "whole leaves"])
@pytest.mark.parametrize("level", range(4))
def test_own_gradients_are_parts_of_the_sum_over_devices(level: int, whole_leaves: bool) -> None:
    """Device p has p + 1 times integer gradients, so that their sum is exact in any order."""
    sharding = at_level(level)
    zero = Zero(sharding, "float32", whole_leaves=whole_leaves)
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda parameters: arrange(parameters, MODEL, CPU), DRAWN)
    slopes = jax.tree.map(lambda array: random.integers(-9, 9, array.shape).astype(np.float32), shapes)

    def gathered(weights: Arranged) -> Arranged:
        if zero.gather_layer is None:
            return weights
        layers = tuple(zero.gather_layer(layer) for layer in weights.layers)  # type: ignore[arg-type]
        return with_ends(weights, zero.gather_layer)._replace(layers=layers)

    def objective(weights: Arranged) -> jax.Array:
        products = jax.tree.map(lambda array, slope: jnp.sum(array * slope), gathered(weights), slopes)
        return (jax.lax.axis_index("data") + 1) * sum(jax.tree.leaves(products))

    def gradients(parameters: Any) -> Arranged:
        partition = arrange(zero.own_partition(parameters), MODEL, CPU)
        return zero.own_gradients(zero.reduce_gradients(jax.grad(objective)(zero.gather_weights(partition))))

    specs = parameter_specs(sharding.at_rest), arranged_specs(sharding, shapes, divided=level > 0)
    given = run(sharding, gradients, DRAWN, *specs)
    jax.tree.map(lambda array, slope: np.testing.assert_array_equal(array, 10 * slope), given, slopes)


def test_weights_that_are_cast_are_sent_in_that_type() -> None:
    """Level 3 gathers kernels in bfloat16 and biases in float32."""
    sharding = at_level(3)
    zero = Zero(sharding, "bfloat16")
    assert zero.gather_layer is not None
    layer = {name: np.full(sharding.arranged[name].shape, 1 + 2**-12, np.float32) for name in ("o", "o_bias")}
    given = run(sharding, zero.gather_layer, layer, PartitionSpec("data"), PartitionSpec())
    assert np.all(given["o"] == 1)
    np.testing.assert_array_equal(given["o_bias"], layer["o_bias"])
