"""`run --minutes` chooses the number of steps by their time, once; it then belongs to the run."""

import time
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.order import Order
from palmetto.tokens.store import TokenStore
from palmetto.workflow import timing
from tests.references.command_runs import bits, command, contents


def fit(run: RunDirectory, seconds: float) -> int:
    """Returns the number of steps that fit into these seconds."""
    recipe = loading.load("tiny.yaml", ["training.epochs=3"])
    return timing.fit(run, recipe, time.monotonic() + seconds, print).training.steps


def test_the_text_limits_the_steps(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    most = Order(TokenStore.open(run.train_store).windows, ((0, 4),), 0, 3).steps_that_fit()
    assert fit(run, 1e6) == most
    assert "training.epochs would give more" in capsys.readouterr().out


def test_more_time_gives_more_steps(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """The chosen steps are those of the pace that is told."""
    recipe = loading.load("tiny.yaml", ["training.epochs=1000000"])
    steps = timing.fit(run, recipe, time.monotonic() + 3600, print).training.steps
    told = capsys.readouterr().out
    assert f"training.steps={steps}" in told
    assert steps > 100 * recipe.training.steps


def test_time_for_no_step_is_refused(run: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"--minutes: starting takes .* expected more"):
        fit(run, 0)


def test_a_timed_run_keeps_its_steps(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    command("run", "tiny.yaml", "--run", "timed", "--minutes", "60", "training.batch_size=32")
    timed = RunDirectory(Path("timed"))
    steps = timed.recipe.training.steps
    assert steps == Order(TokenStore.open(timed.train_store).windows, ((0, 32),), 0, 1).steps_that_fit()
    before = bits(timed)
    command("run", "tiny.yaml", "--run", "timed", "--minutes", "1", "training.batch_size=32")
    assert bits(timed) == before
    assert f"begun with training.steps={steps}, which stays" in capsys.readouterr().err


@pytest.mark.slow
def test_the_steps_of_the_recipe_need_not_fit(run: RunDirectory) -> None:
    recipe = Path("tiny.yaml").read_text().replace("steps: 6", "steps: 100000")
    Path("long.yaml").write_text(recipe.replace("batch_size: 4", "batch_size: {0: 4, 50000: 8}"))
    command("run", "long.yaml", "--run", "long", "--minutes", "60")
    long = RunDirectory(Path("long"))
    assert (
        long.recipe.training.steps == Order(TokenStore.open(long.train_store).windows, ((0, 4),), 0, 1).steps_that_fit()
    )


def test_minutes_and_steps_together_are_refused(run: RunDirectory) -> None:
    before = contents(run)
    with pytest.raises(UserError, match=r"--minutes, training\.steps: give one of them"):
        command("run", "tiny.yaml", "--run", "run", "training.steps=7", "--minutes", "1")
    assert contents(run) == before
