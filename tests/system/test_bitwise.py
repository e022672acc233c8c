"""A run has the same bits however it is stopped, killed, resumed or rolled back, and `verify` proves it."""

import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from palmetto.runs.directory import RunDirectory
from palmetto.training import ledger
from tests.references.whole_runs import SPIKY, Runs

Bits = tuple[str, str, bytes]
pytestmark = pytest.mark.slow


def events(runs: Runs, run: str, kind: str) -> list[dict[str, object]]:
    lines = (runs.folder / run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_stopping_and_resuming_changes_no_bit(prepared: Runs, straight: Bits) -> None:
    for until in (1, 17, 25, 40, 60):  # the ramp's second stage begins between 17 and 25
        prepared.train("pieces", "--until", until)
    assert prepared.bits("pieces") == straight


@pytest.mark.parametrize("seed", [1, 2])
def test_a_kill_at_any_time_changes_no_bit(prepared: Runs, straight: Bits, seed: int) -> None:
    chance = random.Random(seed)
    run = f"killed-{seed}"
    for lines in sorted(chance.sample(range(1, 58), 3)):
        assert prepared.kill_at(run, lines, delay=chance.uniform(0, 0.3)) in (-signal.SIGKILL, 0)
    prepared.train(run)
    assert prepared.bits(run) == straight


def test_a_kill_in_a_checkpoint_changes_no_bit(prepared: Runs, straight: Bits) -> None:
    prepared.kill_at("early", 0)
    for delay in (0.0, 0.01, 0.05):
        prepared.kill_at("early", 10, delay=delay)
    prepared.train("early")
    assert prepared.bits("early") == straight


def test_rollbacks_are_recorded(prepared: Runs, spiky: Bits) -> None:
    rollbacks = events(prepared, "spiky", "rollback")
    assert rollbacks, "the spiky recipe must roll back, or the tests that use it prove nothing"
    for event in rollbacks:
        assert event["checkpoint"] <= event["target"] <= max(0, event["onset"] - 5)  # type: ignore[operator]
        assert event["onset"] <= event["detected"]  # type: ignore[operator]
    attempts = [json.loads(line)["attempt"] for line in spiky[2].splitlines()]
    assert attempts[-1] == len(rollbacks)
    assert json.loads((prepared.folder / "spiky" / "summary.json").read_text())["rollbacks"] == len(rollbacks)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_killed_run_with_rollbacks_has_the_same_bits(prepared: Runs, spiky: Bits, seed: int) -> None:
    chance = random.Random(seed)
    run = f"spiky-killed-{seed}"
    lines = spiky[2].count(b"\n")
    for at in sorted(chance.sample(range(1, lines - 2), 3)):
        prepared.kill_at(run, at, *SPIKY, delay=chance.uniform(0, 0.2))
    prepared.train(run, *SPIKY)
    assert prepared.bits(run) == spiky


def test_a_kill_at_a_rollback_changes_no_bit(prepared: Runs, spiky: Bits) -> None:
    attempts = [json.loads(line)["attempt"] for line in spiky[2].splitlines()]
    last_of_first = attempts.index(1)  # the number of lines when the first spike is complete
    for delay in (0.0, 0.03):
        prepared.kill_at("at-rollback", last_of_first, *SPIKY, delay=delay)
    prepared.train("at-rollback", *SPIKY)
    assert prepared.bits("at-rollback") == spiky


def test_the_frequency_of_checkpoints_changes_no_bit(prepared: Runs, spiky: Bits) -> None:
    prepared.train("sparse", *SPIKY, "training.checkpoint_every=23", "training.keep_last=1")
    assert prepared.bits("sparse") == spiky


def test_a_stopping_signal_writes_a_checkpoint(prepared: Runs, straight: Bits) -> None:
    assert prepared.kill_at("signalled", 7, how=signal.SIGTERM) == 0
    assert prepared.kill_at("signalled", 23, how=signal.SIGINT) == 0
    assert prepared.kill_at("signalled", 41, how=signal.SIGHUP) == 0
    stopped = events(prepared, "signalled", "stopped")
    assert len(stopped) == 3
    resumed = events(prepared, "signalled", "resume")
    assert all(event["ledger_lines_cut"] == 0 for event in resumed), "a clean stop loses no step"
    prepared.train("signalled")
    assert prepared.bits("signalled") == straight


def test_the_checkpoint_before_a_damaged_one_is_used(prepared: Runs, straight: Bits) -> None:
    prepared.train("damaged", "--until", 40)
    newest = prepared.folder / "damaged" / "checkpoints" / "00000040"
    file = max((p for p in (newest / "arrays").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    flip(file, file.stat().st_size // 2)
    _, err = prepared.train("damaged")
    assert str(file) in err
    assert "going on from checkpoint 30" in err
    assert prepared.bits("damaged") == straight


def test_missing_checkpoints_stop_the_run(prepared: Runs, straight: Bits) -> None:
    prepared.train("unmounted", "--until", 35)
    run = prepared.folder / "unmounted"
    ledger, away = (run / "ledger.jsonl").read_bytes(), prepared.folder / "away"
    (run / "checkpoints").rename(away)
    for link in (False, True):
        if link:
            (run / "checkpoints").symlink_to("nowhere")
        _, err = prepared.train("unmounted", expect=2)
        assert ("nowhere, where nothing is" if link else "checkpoints/00000035: missing") in err
        assert (run / "ledger.jsonl").read_bytes() == ledger
    (run / "checkpoints").unlink()
    away.rename(run / "checkpoints")
    prepared.train("unmounted")
    assert prepared.bits("unmounted") == straight


def forge(run: Path, step: int) -> None:
    """Puts another embedding into a checkpoint, with correct hashes of files and seal, and the old digests."""
    from palmetto.model.parameters import parameter_table
    from palmetto.runs import manifest
    from palmetto.training import checkpoint
    from palmetto.training.step.state import shapes

    recipe = RunDirectory(run).recipe
    checkpoints = checkpoint.Checkpoints(run / "checkpoints", parameter_table(recipe))
    honest = checkpoints.manifest(step)
    state = checkpoints.restore(step, shapes(recipe))
    parameters = state.parameters | {"embedding": state.parameters["embedding"] * 1.5}
    other = checkpoint.Checkpoints(run.with_name(f"{run.name}-other") / "checkpoints", parameter_table(recipe))
    other.save(state._replace(parameters=parameters), step=step, attempt=0, recipe="", tokens="", chain="")
    other.wait()
    folder = checkpoints.path / f"{step:08d}"
    shutil.rmtree(folder)
    shutil.move(other.path / folder.name, folder)
    text = manifest.render(honest._replace(files=other_files(folder)))
    (folder / "manifest.json").write_text(text)


def other_files(folder: Path) -> dict[str, str]:
    files: dict[str, str] = json.loads((folder / "manifest.json").read_text())["files"]
    return files


def test_every_reader_names_a_forged_checkpoint(prepared: Runs, straight: Bits) -> None:
    shutil.copytree(prepared.folder / "straight", prepared.folder / "forgery")
    forge(prepared.folder / "forgery", 50)
    out, _ = prepared("verify", "forgery", expect=1)
    assert out.startswith("step 50: checkpoint: ")
    assert "have the digest" in out
    assert prepared("verify", "forgery", "--from", 1, "--to", 2, expect=1)[0] == out
    assert "00000050: its parameters have the digest" in prepared("digest", "forgery", "--step", 50, expect=2)[1]

    prepared.train("forged-newest", "--until", 50)
    forge(prepared.folder / "forged-newest", 50)
    assert "have the digest" in prepared("generate", "forged-newest", expect=2)[1]
    _, err = prepared.train("forged-newest")
    assert "set aside as damaged-00000050" in err
    assert "going on from checkpoint 40" in err
    assert prepared.bits("forged-newest") == straight


def test_an_old_run_without_checkpoint_records_resumes(prepared: Runs, straight: Bits) -> None:
    prepared.train("older", "--until", 35)
    (prepared.folder / "older" / "checkpoints.json").unlink()
    prepared.train("older")
    assert prepared.bits("older") == straight


def test_verify_passes_on_whole_and_partial_runs(prepared: Runs, straight: Bits, spiky: Bits) -> None:
    assert json.loads(prepared("verify", "straight", "--json")[0]) == {"verified": True, "steps": 60}
    assert json.loads(prepared("verify", "straight", "--from", 45, "--to", 52, "--json")[0])["steps"] == 12
    replayed = json.loads(prepared("verify", "spiky", "--json")[0])["steps"]
    assert replayed == spiky[2].count(b"\n"), "every line of every attempt is replayed"
    prepared("verify", "spiky", "--from", 50)


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)


def test_verify_names_the_step_of_an_altered_byte(prepared: Runs, straight: Bits) -> None:
    shutil.copytree(prepared.folder / "straight", prepared.folder / "altered-ledger")
    ledger = prepared.folder / "altered-ledger" / "ledger.jsonl"
    lines = straight[2].splitlines(keepends=True)
    flip(ledger, sum(map(len, lines[:32])) + lines[32].index(b'"loss"') + 14)
    out, _ = prepared("verify", "altered-ledger", expect=1)
    assert out.startswith("step 33:")


def rewrite(path: Path, lines: list[ledger.Line]) -> None:
    """Writes a ledger with other lines and a correct chain."""
    path.unlink()
    forged = ledger.Ledger.open(path)
    for line in lines:
        forged.append(line)
    forged.close()


def test_verify_finds_a_ledger_forged_with_its_chain(prepared: Runs, straight: Bits) -> None:
    """A correct chain does not help a forger, since the step itself is replayed."""
    shutil.copytree(prepared.folder / "straight", prepared.folder / "forged")
    path = prepared.folder / "forged" / "ledger.jsonl"
    lines, _ = ledger.read(path)
    shutil.rmtree(prepared.folder / "forged" / "checkpoints")
    slightly = 1 + 2**-22
    rewrite(path, [line._replace(grad_norm=line.grad_norm * slightly) if line.step == 12 else line for line in lines])
    out, _ = prepared("verify", "forged", expect=1)
    assert out.startswith("step 12: grad_norm")
    assert "environment" not in out


def test_verify_names_differences_of_the_environment(prepared: Runs, straight: Bits) -> None:
    run = prepared.folder / "elsewhere"
    shutil.copytree(prepared.folder / "straight", run)
    shutil.rmtree(run / "checkpoints")
    recorded = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(recorded | {"variables": {"JAX_OPTIMIZATION_LEVEL": "O1"}}))
    lines, _ = ledger.read(run / "ledger.jsonl")
    rewrite(run / "ledger.jsonl", [line._replace(z=line.z * 2) if line.step == 2 else line for line in lines])
    out, _ = prepared("verify", "elsewhere", expect=1)
    assert out.startswith("step 2: z differs: ")
    assert "but this is another environment than the run's: JAX_OPTIMIZATION_LEVEL O1 → unset" in out
    flip(run / "ledger.jsonl", 30)
    out, _ = prepared("verify", "elsewhere", expect=1)
    assert "environment" not in out, "a difference in the ledger is not blamed on the environment"


def test_verify_names_an_altered_checkpoint(prepared: Runs, straight: Bits) -> None:
    shutil.copytree(prepared.folder / "straight", prepared.folder / "altered-checkpoint")
    checkpoint = prepared.folder / "altered-checkpoint" / "checkpoints" / "00000050"
    flip(checkpoint / "manifest.json", 40)
    assert prepared("verify", "altered-checkpoint", expect=1)[0].startswith("step 50:")


def test_a_lost_or_altered_ledger_stops_the_run(prepared: Runs, straight: Bits) -> None:
    for run, ruin in (("no-ledger", os.remove), ("bad-ledger", lambda path: flip(path, 900))):
        shutil.copytree(prepared.folder / "straight", prepared.folder / run)
        (prepared.folder / run / "summary.json").unlink()
        ruin(prepared.folder / run / "ledger.jsonl")
        _, err = prepared.train(run, expect=2)
        assert "ledger.jsonl" in err


def test_persistent_nans_end_the_run(prepared: Runs) -> None:
    """Persistent NaNs are handled like spikes: the run goes back, then further back, and then stops."""
    wild = ["training.schedule.peak=1e35", "training.spikes.nonfinite_patience=2", "training.spikes.attempts=2"]
    _, err = prepared.train("wild", *wild, expect=1)
    last = err.strip().splitlines()[-1]
    assert last.startswith("palmetto: wild: the spike at step")
    assert "after 2 rollbacks" in last
    assert len(events(prepared, "wild", "rollback")) == 2
    assert events(prepared, "wild", "skipped step")
    assert prepared.train("wild", *wild, expect=1)[1].strip().splitlines()[-1] == last, "it does not start again"
    prepared("verify", "wild")
