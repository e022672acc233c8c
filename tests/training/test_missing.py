"""Missing checkpoints and ledgers are named, with and without a register of checkpoints."""

from pathlib import Path

import pytest

from palmetto.errors import RunStopped, UserError
from palmetto.json_lines import read_json_lines
from tests.conftest import RecipeMaker
from tests.references.recovery_runs import spikes_at
from tests.references.report_runs import write_summary
from tests.references.simulated import Killed, SimulatedRun


@pytest.fixture
def trained(little: RecipeMaker, folder: Path) -> SimulatedRun:
    """Returns a run that was killed at step 25, with checkpoints at steps 10 and 20."""
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10", "training.keep_last=3"), spikes_at())
    with pytest.raises(Killed):
        run.train(40, steps=25)
    assert run.disk.steps() == [10, 20]
    return run


@pytest.mark.parametrize("lost", [{20}, {10, 20}])
def test_a_missing_checkpoint_is_named_and_nothing_is_cut(trained: SimulatedRun, lost: set[int]) -> None:
    before = trained.directory.ledger.read_bytes()
    away = {step: trained.disk.saved.pop(step) for step in lost}
    for _ in range(2):
        with pytest.raises(UserError, match="00000020: missing") as caught:
            trained.train(40)
        assert not isinstance(caught.value, RunStopped)
        assert trained.directory.ledger.read_bytes() == before
    trained.disk.saved |= away
    assert trained.train(40)
    assert "going on from checkpoint 20" in trained.loop.recorder.progress.messages


def test_a_lost_checkpoint_can_be_given_up(trained: SimulatedRun) -> None:
    del trained.disk.saved[20]
    with pytest.raises(UserError, match=r"go on from checkpoint 10 by: mkdir -p .*/damaged-00000020$"):
        trained.train(40)
    trained.disk.aside.add(20)
    assert trained.train(40)
    assert "going on from checkpoint 10" in trained.loop.recorder.progress.messages


def test_a_missing_older_checkpoint_is_only_reported(trained: SimulatedRun) -> None:
    del trained.disk.saved[10]
    assert trained.train(40)
    (told,) = [e for e in read_json_lines(trained.directory.events) if e["event"] == "missing checkpoint"]
    assert told["checkpoint"] == 10


def test_a_missing_ledger_is_not_begun_anew(trained: SimulatedRun) -> None:
    trained.directory.ledger.unlink()
    for kept in (dict(trained.disk.saved), {}):
        trained.disk.saved = kept
        with pytest.raises(UserError, match=r"ledger\.jsonl: lacks the line of checkpoint"):
            trained.train(40)


def test_a_run_killed_before_its_first_checkpoint_begins_again(little: RecipeMaker, folder: Path) -> None:
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10"), spikes_at())
    with pytest.raises(Killed):
        run.train(40, steps=9)
    assert run.train(40)
    assert "no checkpoint yet: going on from step 0" in run.loop.recorder.progress.messages


# Runs without a register of checkpoints


def test_a_run_without_a_register_resumes_and_gets_one(trained: SimulatedRun) -> None:
    trained.disk.recorded = None
    assert trained.train(40)
    assert "going on from checkpoint 20" in trained.loop.recorder.progress.messages
    assert trained.disk.recorded is not None


def test_without_a_register_events_reveal_missing_checkpoints(trained: SimulatedRun) -> None:
    with pytest.raises(Killed):
        trained.train(40, steps=3)
    trained.disk.recorded = None
    away = trained.disk.saved.pop(20)
    with pytest.raises(UserError, match="00000020: missing"):
        trained.train(40)
    trained.disk.saved[20] = away
    trained.disk.damaged.add(20)
    with pytest.raises(Killed):
        trained.train(40, steps=5)
    trained.disk.recorded = None
    assert trained.train(40), "one that was set aside is not missed"


def test_without_a_register_the_ledger_reveals_missing_checkpoints(little: RecipeMaker, folder: Path) -> None:
    """A run that was killed has no summary yet, and no event of a resume."""
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10"), spikes_at())
    with pytest.raises(Killed):
        run.train(40, steps=21)
    run.disk.recorded, run.disk.saved = None, {}
    before = run.directory.ledger.read_bytes()
    with pytest.raises(UserError, match="00000010: missing"):
        run.train(40)
    assert run.directory.ledger.read_bytes() == before
    run.disk.aside.add(10)
    run.directory.checkpoints.joinpath("damaged-00000010").mkdir(parents=True)
    assert run.train(40), "it can be given up"


def test_without_a_register_a_run_killed_early_restarts(little: RecipeMaker, folder: Path) -> None:
    """The second checkpoint was not begun, so the first may be incomplete."""
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10"), spikes_at())
    with pytest.raises(Killed):
        run.train(40, steps=20)
    run.disk.recorded, run.disk.saved = None, {}
    assert run.train(40)


def test_without_a_register_pruned_checkpoints_are_not_missed(trained: SimulatedRun) -> None:
    with pytest.raises(Killed):
        trained.train(40, steps=15)
    assert trained.disk.steps()[-1] == 30
    del trained.disk.saved[20]
    trained.disk.recorded = None
    assert trained.train(40)
    assert not any("missing" in message for message in trained.loop.recorder.progress.messages)


def test_without_a_register_the_summary_reveals_missing_checkpoints(little: RecipeMaker, folder: Path) -> None:
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10"), spikes_at())
    run.train(25)
    write_summary(run.directory, run.directory.recipe, 25)
    run.disk.recorded = None
    away = run.disk.saved
    run.disk.saved = {}
    with pytest.raises(UserError, match="00000025: missing"):
        run.train(40)
    run.directory.ledger.rename(folder / "ledger")
    with pytest.raises(UserError, match=r"ledger\.jsonl: lacks the line of checkpoint 25"):
        run.train(40)
    (folder / "ledger").rename(run.directory.ledger)
    run.disk.saved = away
    assert run.train(40)
