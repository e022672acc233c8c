"""Replay of a ledger: its live path, the state to begin from, and repeated steps."""

from pathlib import Path
from typing import Any

import pytest

from palmetto.recipe import Recipe
from palmetto.training.ledger import Line
from palmetto.training.replay import Differs, Misplaced, begin_at, follow, take_again
from tests.conftest import RecipeMaker
from tests.references.recovery_runs import LITTLE, spikes_at
from tests.references.simulated import Machine, SimulatedRun


@pytest.fixture
def recipe(tiny_recipe: RecipeMaker) -> Recipe:
    return tiny_recipe(*LITTLE, "training.steps=1000", "training.checkpoint_every=10")


@pytest.fixture
def lines(recipe: Recipe, tmp_path: Path) -> list[Line]:
    """Returns the ledger of a run to step 40 with one rollback."""
    run = SimulatedRun(tmp_path / "run", recipe, spikes_at(30))
    run.train(40)
    return run.loop.ledger.lines


def machine(recipe: Recipe) -> Any:
    return Machine(recipe, spikes_at(30))


def test_the_path_is_that_of_the_last_attempt(recipe: Recipe, lines: list[Line]) -> None:
    path = follow(machine(recipe).history(), lines)
    (rollback,) = path.history.rollbacks
    assert [line.step for line in path.lines] == list(range(1, 41))
    assert {line.attempt for line in path.lines[: rollback.target]} == {0}
    assert {line.attempt for line in path.lines[rollback.target :]} == {1}


def test_a_misplaced_line_is_named_with_the_expected_one(recipe: Recipe, lines: list[Line]) -> None:
    with pytest.raises(Misplaced) as caught:
        follow(machine(recipe).history(), [*lines[:5], *lines[6:]])
    assert (caught.value.number, caught.value.line.step, caught.value.expected) == (6, 7, (0, 6))


def test_a_step_with_another_result_names_the_quantity(recipe: Recipe, lines: list[Line]) -> None:
    again = machine(recipe)
    history = again.history()
    state = take_again(again, again.initial_state(), lines[0], history)
    with pytest.raises(Differs, match=r"step 2: loss differs: recorded 9\.0, replayed"):
        take_again(again, state, lines[1]._replace(loss=9.0), history)


def test_a_replay_begins_at_the_first_readable_state(recipe: Recipe) -> None:
    states: Any = {20: "of step 20", 10: "of step 10"}
    bases: list[Any] = [begin_at(machine(recipe), steps, states.get) for steps in ([30, 20, 10], [30])]
    assert bases == [("of step 20", 20), ("", 0)]
