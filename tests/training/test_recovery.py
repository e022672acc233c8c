"""Recovery of runs of the real loop over simulated steps, after kills, signals, rollbacks and changes of machine."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import RunStopped, UserError
from palmetto.files import write_json
from palmetto.json_lines import read_json_lines
from palmetto.training import replay, verify
from palmetto.training.recovery import Recovery
from tests.conftest import RecipeMaker
from tests.references.recovery_runs import fresh, spikes_at
from tests.references.simulated import Curve, Killed, SimulatedRun
from tests.references.spike_runs import curves


@given(curve=curves(), stops=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=8))
@settings(max_examples=25)
def test_kills_and_signals_anywhere_change_no_bit(
    little: RecipeMaker, tmp_path_factory: pytest.TempPathFactory, curve: Curve, stops: list[tuple[bool, int]]
) -> None:
    folder = fresh(tmp_path_factory.getbasetemp())
    uncut, run = (SimulatedRun(folder / name, little("training.checkpoint_every=9"), curve) for name in ("a", "b"))
    expected = uncut.outcome(120)
    for killed, after in stops:
        run.outcome(120, **{"steps" if killed else "stop_after": after})
    assert run.outcome(120) == expected
    assert run.directory.ledger.read_bytes() == uncut.directory.ledger.read_bytes()
    if expected == "done":
        assert run.bits == uncut.bits


def test_repeated_steps_obey_signals_and_are_saved(little: RecipeMaker, folder: Path) -> None:
    """A run that is preempted every four steps gets through fifty repeated ones."""
    recipe = little("training.checkpoint_every=1000")
    uncut, run = (SimulatedRun(folder / name, recipe, spikes_at(60)) for name in ("uncut", "run"))
    uncut.train(80)
    with pytest.raises(Killed):
        run.train(80, steps=61)  # right at the rollback
    while not run.train(80, stop_after=4):
        assert len(run.directory.ledger.read_bytes()) <= len(uncut.directory.ledger.read_bytes())
        assert run.machine.steps_left == 10**9 - 4, "not one step more is taken"
        assert run.loop.at.step in run.disk.steps(), "each time it saves how far it has come"
    assert run.bits == uncut.bits


def test_repeated_steps_are_checkpointed(little: RecipeMaker, folder: Path) -> None:
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=1000"), spikes_at(60))
    with pytest.raises(Killed):
        run.train(80, steps=61)
    run.directory.claim(little("training.checkpoint_every=10"))
    with pytest.raises(Killed):
        run.train(80, steps=25)
    assert run.disk.steps()[-1] == 20


def test_a_run_stopped_right_after_a_rollback_resumes(little: RecipeMaker, folder: Path) -> None:
    recipe = little("training.checkpoint_every=54")
    uncut, run = (SimulatedRun(folder / name, recipe, spikes_at(60)) for name in ("uncut", "run"))
    uncut.train(80)
    assert not run.train(80, stop_after=61)
    run.train(80)
    assert run.bits == uncut.bits


def test_abandoned_checkpoints_stay_until_the_target_is_reached(little: RecipeMaker, folder: Path) -> None:
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=19"), spikes_at(60))
    with pytest.raises(Killed):
        run.train(80, steps=61 + 10)
    assert [back.base for back in run.backs] == [38]
    assert 57 in run.disk.steps()
    run.train(80)
    assert 57 in run.disk.steps(), "of the new attempt"
    assert run.disk.sealed(57).attempt == 1


def test_a_machine_that_repeats_other_bits_stops_the_run(
    little: RecipeMaker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recovery, "elsewhere", lambda self: [])
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=50"), spikes_at(60))
    run.train(58)
    run.machine.kind = "broken"
    before = run.disk.steps()
    with pytest.raises(RunStopped, match=r"step 51 did not come out as the ledger says .parameter_norm differs"):
        run.train(80)
    assert set(before) <= set(run.disk.steps()), "nothing is deleted by a rollback that has not succeeded"


@pytest.mark.parametrize(("every", "base"), [(1000, 0), (50, 50), (7, 49)])
def test_in_another_environment_a_rollback_goes_deeper(
    little: RecipeMaker, folder: Path, monkeypatch: pytest.MonkeyPatch, every: int, base: int
) -> None:
    monkeypatch.setattr(Recovery, "elsewhere", lambda self: ["jaxlib 1 → 2"])
    run = SimulatedRun(folder / "run", little(f"training.checkpoint_every={every}"), spikes_at(60, 61))
    run.train(58)
    run.machine.kind = "other"
    assert run.train(80)
    deeper = [event for event in read_json_lines(run.directory.events) if event["event"] == "deeper rollback"]
    assert deeper[0]["checkpoint"] == base
    assert "jaxlib 1 → 2" in deeper[0]["text"]
    lines = run.loop.ledger.lines
    assert next(line.step for line in lines if line.attempt == 1) == base + 1
    check_no_data_twice(run)


def check_no_data_twice(run: SimulatedRun) -> None:
    """Asserts that no attempt reads data that an earlier step has read."""
    lines = run.loop.ledger.lines
    for before, line in itertools.pairwise(lines):
        assert int(line.batch) >= int(before.batch) + before.sequences


@pytest.mark.parametrize("every", [1000, 50])
def test_a_deeper_rollback_is_verified_and_resumed_as_any_other(
    little: RecipeMaker, folder: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """The difference that causes it is simulated, so that one machine can repeat every line."""
    differences = iter(["loss"])
    monkeypatch.setattr(replay, "differing", lambda was, line: next(differences, None))
    monkeypatch.setattr(Recovery, "elsewhere", lambda self: ["jaxlib 1 → 2"])
    run = SimulatedRun(folder / "run", little(f"training.checkpoint_every={every}"), spikes_at(60, 75))
    run.train(70)
    run.train(100)
    first = {line.attempt: line.step for line in reversed(run.loop.ledger.lines)}
    assert first == {0: 1, 1: every % 1000 + 1, 2: 75 - 6 + 1}

    verification: Any = object.__new__(verify._Verification)
    verification.lines, verification.progress, verification.execution = run.loop.ledger.lines, print, run.machine
    verification.manifests, verification.replayed = {}, 0
    monkeypatch.setattr("jax.device_put", lambda state, places: str(state))
    assert verification.replay(None, None) == len(verification.lines)
    assert verification.replay(60, 90) == len(verification.lines) + 90


@given(curve=curves(), moves=st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ABC")), min_size=1, max_size=6))
@settings(max_examples=25)
def test_a_run_that_moves_between_machines_is_never_stuck(
    little: RecipeMaker, tmp_path_factory: pytest.TempPathFactory, curve: Curve, moves: list[tuple[int, str]]
) -> None:
    folder = fresh(tmp_path_factory.getbasetemp())
    run = SimulatedRun(folder, little("training.checkpoint_every=9"), curve)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recovery, "elsewhere", lambda self: ["device"])
        for steps, kind in moves:
            run.machine.kind = kind
            run.outcome(120, steps=steps)
        assert run.outcome(120) not in ("stopped", "killed")
    check_no_data_twice(run)


def test_an_environment_that_once_differed_counts_as_different(
    little: RecipeMaker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"platform": "cpu", "jaxlib": "1", "threads": 8, "instruction_set": "AVX2", "layout": {}}
    monkeypatch.setattr("palmetto.host.environment.record", lambda layout, inelastic: here)
    run = SimulatedRun(folder / "run", little(), spikes_at())
    run.train(3)
    write_json(run.directory.environment, here)
    assert run.loop.recovery.elsewhere() == []
    write_json(run.directory.environment, here | {"jaxlib": "0"})
    assert run.loop.recovery.elsewhere() == ["jaxlib 0 → 1"]
    write_json(run.directory.environment, here)
    run.directory.record_event("environment", text="jaxlib 1 → 2")
    assert run.loop.recovery.elsewhere() == ["jaxlib 1 → 2"]


def test_a_run_out_of_text_resumes_with_more_epochs(little: RecipeMaker, folder: Path) -> None:
    short = little("training.checkpoint_every=1000", "training.batch_size=8")
    run = SimulatedRun(folder / "run", short, spikes_at(60), windows=100 * 8)
    with pytest.raises(RunStopped, match="the data has run out") as caught:
        run.train(100)
    assert "give more text" not in str(caught.value), "a run that has begun takes no other text"
    reached = run.disk.steps()[-1]
    assert reached == run.loop.path.step, "nothing is lost"
    before = run.directory.ledger.read_bytes()
    longer = little("training.checkpoint_every=1000", "training.batch_size=8", "training.epochs=2")
    run.directory.claim(longer)
    more = SimulatedRun(folder / "more", longer, spikes_at(60), windows=100 * 8)
    more.directory, more.disk = run.directory, run.disk
    assert more.train(100)
    assert f"going on from checkpoint {reached}" in more.loop.recorder.progress.messages
    assert run.directory.ledger.read_bytes().startswith(before)
    with pytest.raises(UserError, match=r"training\.epochs 2 → 1"):
        run.directory.claim(short)
