"""Lowers the training step of a recipe for devices that are only described."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model import tuning
from palmetto.parallel.sharding import Sharding
from palmetto.planning.network.topology import Topology
from palmetto.recipe import Recipe
from palmetto.training.step import state
from palmetto.training.step.loss import Batch
from palmetto.training.step.update import make_step


class Lowered(NamedTuple):
    """Holds a step that is ready to be compiled."""

    step: Any
    """The step, a `jax.stages.Lowered`."""
    given: Any
    """Its arguments, a pytree of abstract arrays."""
    devices: Sequence[Any]
    """The devices in the order of their numbers in the program."""


def training(recipe: Recipe, on: Topology, devices: Sequence[Any], sequences: int) -> Lowered:
    """Returns the training step of a recipe, on its mesh, for a batch of `sequences`."""
    sharding = Sharding(recipe, devices)
    step = make_step(recipe, tuning.for_platform("gpu" if on.is_gpu else "tpu"), sharding)
    everywhere = sharding.place()
    leaves, rest = divmod(sequences, recipe.training.micro_batch)
    assert not rest, "recipes check that micro-batches divide the batch"
    shape = (leaves, recipe.training.micro_batch, recipe.model_length + 1)
    tokens: Any = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=everywhere)
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=everywhere)
    given = (state.shapes(recipe, sharding), Batch(tokens), rate)
    return Lowered(step.lower(*given), given, list(sharding.mesh.devices.flat))  # type: ignore[attr-defined]
