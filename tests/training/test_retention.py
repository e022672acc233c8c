"""Retention of checkpoints: every rollback finds one near its target, though few are kept."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.training.retention import cell, retained
from palmetto.training.spikes import reach
from tests.conftest import RecipeMaker
from tests.references.recovery_runs import check_covered, fresh, spikes_at
from tests.references.simulated import Curve, SimulatedRun
from tests.references.spike_runs import curves


@pytest.mark.parametrize(
    ("every", "rewind", "onsets"),
    [(5, 20, (116, 269, 280, 300, 310, 320)), (50, 100, (1000, 1001, 1400, 1401, 1402, 3000))],
)
def test_rollbacks_of_a_long_run_begin_near_their_targets(
    tiny_recipe: RecipeMaker, folder: Path, every: int, rewind: int, onsets: tuple[int, ...]
) -> None:
    recipe = tiny_recipe(
        "training.steps=5000",
        f"training.checkpoint_every={every}",
        "training.keep_last=3",
        f"training.spikes={{window: 16, rewind: {rewind}, skip: {3 * rewind}}}",
    )
    run = SimulatedRun(folder / "run", recipe, spikes_at(*onsets))
    run.train(onsets[-1] + 200)
    assert len(run.backs) == len(onsets)
    check_covered(recipe, run.backs)
    for back in run.backs:
        assert back.rollback.target - back.base <= every + (back.rollback.detected - back.base) // 4, back


@given(curve=curves(), every=st.integers(1, 13), keep_last=st.integers(1, 3))
@settings(max_examples=25)
def test_any_permitted_rollback_finds_a_checkpoint_near_its_target(
    little: RecipeMaker, tmp_path_factory: pytest.TempPathFactory, curve: Curve, every: int, keep_last: int
) -> None:
    recipe = little(f"training.checkpoint_every={every}", f"training.keep_last={keep_last}")
    run = SimulatedRun(fresh(tmp_path_factory.getbasetemp()), recipe, curve)
    run.outcome(160)
    check_covered(recipe, run.backs)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Draws the stretches of a run as pairs (steps forward, steps back)."""
    return draw(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400)), min_size=1, max_size=40))


@given(history=histories(), every=st.sampled_from([1, 3, 10, 64]), odd=st.sets(st.integers(1, 4000), max_size=20))
def test_thinning_covers_every_step_of_any_history_with_few_checkpoints(
    little: RecipeMaker, history: list[tuple[int, int]], every: int, odd: set[int]
) -> None:
    """Stops by signals write checkpoints at the irregular steps `odd`."""
    training, near = little().training, reach(little().training.spikes)
    kept, ever, step, top = list[int](), list[int](), 0, 0
    for forward, back in history:
        new = [at for at in range(step + 1, step + forward + 1) if at % every == 0 or at in odd]
        for at in new:
            wanted = retained(training, kept)
            kept = [each for each in kept if each in wanted] + [at]
        ever += new
        step += forward
        top = max(top, step)
        for target in range(step + 1):
            best = max((each for each in ever if each <= target), default=0) if target % 7 == 0 else 0
            if best:
                base = max(each for each in kept if each <= target)
                assert best - base < cell(top - base, near)
        step = max(0, step - back)
        kept, ever = ([each for each in steps if each <= step] for steps in (kept, ever))
    most = 8 + 5 * near.bit_length() + 2 * top.bit_length()
    assert len(retained(training, kept)) <= most


def test_wider_cells_are_multiples_of_narrower_ones() -> None:
    widths = [cell(distance, 100) for distance in range(2000)]
    assert all(after % before == 0 for before, after in itertools.pairwise(widths))


def test_the_width_of_a_cell_is_bounded_by_its_distance() -> None:
    """It is a quarter of the distance within reach of a rollback and the whole beyond, as docs/robustness.md says."""
    assert all(cell(distance, 100) <= max(1, distance / 4) for distance in range(101))
    assert all(cell(distance, 100) <= distance for distance in range(101, 2000))


def test_a_run_without_rollbacks_keeps_the_checkpoints_its_recipe_names(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe("training.spikes.attempts=0", "training.keep_last=2", "training.keep_every=20").training
    assert retained(training, range(5, 100, 5)) == {20, 40, 60, 80, 90, 95}
    assert retained(training, []) == set()
