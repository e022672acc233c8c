"""Tests at random that results do not depend on the layout.

For recipes and meshes drawn at random, everything that a ledger holds of a step is byte-equal to one device's, or the
recipe says that its bits depend on the layout.
"""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from palmetto.model import tuning
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.tokens.order import Order
from palmetto.training.learning_rate import learning_rate
from palmetto.training.step import state as states
from palmetto.training.step.execution import make_batch
from palmetto.training.step.state import State, initial_state
from palmetto.training.step.update import make_step
from tests.references.draws import draw_case
from tests.references.spread import on

pytestmark = pytest.mark.optimized

STEPS = 6
HUNDREDS = settings.get_current_profile_name() == "hundreds"


def train(recipe: Recipe, start: State, on_cpu: tuning.Tuning) -> list[bytes]:
    """Returns every bit of the states and metrics of a few steps from NumPy arrays `start`, on the recipe's mesh."""
    sharding, training = Sharding(recipe), recipe.training
    step, written = make_step(recipe, on_cpu, sharding), []
    state = jax.device_put(jax.tree.map(np.array, start), states.places(recipe, sharding))
    order = Order(1 << 20, training.batch_ramp, training.seed, 1)
    for number in range(1, STEPS + 1):
        positions = order.positions(number, ())
        shape = (len(positions), recipe.tokens.sequence_length + 1)
        windows = np.random.default_rng(number).integers(4, recipe.tokens.vocabulary_size, shape, dtype=np.int32)
        batch = make_batch(recipe, windows, positions, eod=1)
        leaves = jax.tree.map(lambda array: array.reshape(-1, training.micro_batch, *array.shape[1:]), batch)
        rate = jnp.asarray(np.float32(learning_rate(training, number)))
        state, metrics = jax.block_until_ready(step(state, *sharding.everywhere((leaves, rate))))
        written += [np.asarray(array).tobytes() for array in jax.tree.leaves((state, metrics))]
    return written


def check(seed: int, more: int) -> None:
    """Compares a drawn recipe on a mesh and `more` others with one device.

    Our kernels, if there are such, compute every second one, and XLA the others.
    """
    case = draw_case(random.Random(seed).choice, more)
    on_cpu = tuning.for_platform("cpu") if seed % 2 else tuning.CPU
    there = [on(case.recipe, **mesh) for mesh in case.meshes]
    for recipe, mesh in zip(there, case.meshes, strict=True):
        if recipe.mesh_record:
            # Recorded with the environment, so that a change of layout is reported to change bits.
            assert recipe.model.experts is not None or recipe.model.attention.name == "memory"
            assert {axis for axis in ("pod", "data") if mesh[axis] > 1} <= recipe.mesh_record.keys()
    elastic = [recipe for recipe in there if not recipe.mesh_record]
    if not elastic:
        return
    start = jax.device_get(initial_state(case.recipe))
    alone = train(case.recipe, start, on_cpu)
    for recipe in elastic:
        assert train(recipe, start, on_cpu) == alone, (seed, recipe.mesh, case)
    jax.clear_caches()


def test_a_random_small_recipe_has_the_same_bits_on_a_mesh() -> None:
    check(345, more=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [14, 27, 168, 187, 202])
def test_a_random_recipe_has_the_same_bits_on_every_mesh(seed: int) -> None:
    check(seed, more=1)


@pytest.mark.slow
@pytest.mark.skipif(not HUNDREDS, reason="hundreds of draws take hours: --hypothesis-profile=hundreds")
@settings(phases=[Phase.generate])
@given(seed=st.integers(0, 2**32 - 1))
def test_random_recipes_on_hundreds_of_meshes_have_the_same_bits(seed: int) -> None:
    check(seed, more=3)
