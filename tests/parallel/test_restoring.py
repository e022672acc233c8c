"""Tests that a checkpoint of any layout is restored bitwise onto any other."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from palmetto.model import tuning
from palmetto.model.parameters import parameter_table
from palmetto.parallel.sharding import Sharding
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.step import state as states
from palmetto.training.step.state import State
from tests.model.test_catalogue import some
from tests.references.spread import make_recipe, on, some_batch, take_step

RECIPE = make_recipe(
    some("t5", layers=4, block="serial", norm="rms", key_value_heads=2, experts={"count": 4, "every": 2})
)
LAYOUTS: tuple[dict[str, Any], ...] = (
    {"expert": 2, "model": 2},
    {"data": 2, "stage": 2, "zero": 1},
    {"sequence": 2, "expert": 4},
    {"pod": 2, "data": 2, "model": 2, "zero": 2},
)
"""Each is restored from what the one before has written, and the first from the last."""


def flat(state: State) -> list[np.ndarray]:
    return [np.asarray(array) for array in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def trained() -> State:
    """Returns a state whose moments are all nonzero."""
    batch = some_batch(RECIPE)
    after, _ = take_step(RECIPE, tuning.ACCELERATOR, batch, 1e-2)
    return after


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(LAYOUTS)))
def test_a_state_is_restored_bitwise_on_another_mesh(number: int, trained: State, tmp_path: Path) -> None:
    before, after = (on(RECIPE, **LAYOUTS[n]) for n in (number - 1, number))
    checkpoints = Checkpoints(tmp_path / "checkpoints", parameter_table(RECIPE))
    there = jax.device_put(trained, states.places(before, Sharding(before)))
    checkpoints.save(there, step=1, attempt=0, recipe="", tokens="", chain="")
    checkpoints.wait()
    restored = checkpoints.restore(1, states.shapes(after, Sharding(after)))
    assert all(one.tobytes() == other.tobytes() for one, other in zip(flat(restored), flat(trained), strict=True))
    for array, place in zip(*map(jax.tree.leaves, (restored, states.places(after, Sharding(after)))), strict=True):
        assert array.sharding.is_equivalent_to(place, array.ndim)
