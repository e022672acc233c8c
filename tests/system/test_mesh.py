"""Runs on many devices, in one process or several, have the bits of one device and resume on any layout."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.references.whole_runs import SPIKY, Runs
from tests.system.test_bitwise import Bits, events
from tests.system.test_pods import is_alive

pytestmark = pytest.mark.slow


def test_any_layout_resumes_any_other_with_the_same_bits(prepared: Runs, straight: Bits) -> None:
    for until, mesh in (
        (14, ["mesh.data=4"]),
        (33, ["mesh.data=2", "mesh.pod=2", "mesh.zero=1"]),
        (47, []),
        (60, ["mesh.data=2", "mesh.zero=2"]),
    ):
        prepared.train("layouts", *mesh, "--until", until)
    assert prepared.bits("layouts") == straight
    assert not events(prepared, "layouts", "environment"), "bits depend on nothing that has changed"
    prepared("verify", "layouts", "mesh.data=4")


def test_rollbacks_on_a_mesh_are_those_of_one_device(prepared: Runs, spiky: Bits) -> None:
    prepared.train("spiky-mesh", *SPIKY, "mesh.data=2", "mesh.zero=0")
    assert prepared.bits("spiky-mesh") == spiky


def test_a_run_can_be_replayed_on_fewer_devices(prepared: Runs, straight: Bits) -> None:
    run = prepared.folder / "large"
    shutil.copytree(prepared.folder / "straight", run)
    recipe = (run / "recipe.yaml").read_text()
    for axis, size in (("data", 4), ("sequence", 2), ("model", 2)):
        assert f"\n  {axis}: 1\n" in recipe
        recipe = recipe.replace(f"\n  {axis}: 1\n", f"\n  {axis}: {size}\n")
    (run / "recipe.yaml").write_text(recipe)
    told = (run / "events.jsonl").read_bytes()
    digests = json.loads(prepared("digest", "large", "--json")[0])
    assert (digests["parameters"], digests["optimizer"]) == straight[:2]
    assert prepared("generate", "large", "--tokens", 4)[0]
    _, err = prepared("verify", "large", expect=2)
    assert "fewer than the 16 CPU devices" in err
    prepared("verify", "large", "mesh.model=1", "mesh.sequence=1", "--from", 51)
    assert (run / "events.jsonl").read_bytes() == told, "a reader writes nothing"


def test_another_model_axis_is_reported_to_change_bits(prepared: Runs, straight: Bits) -> None:
    prepared.train("model-axis", "--until", 20)
    prepared.train("model-axis", "mesh.model=2", "--until", 30)
    assert "mesh.model 1 → 2" in str(events(prepared, "model-axis", "environment")[-1]["text"])
    ours = [json.loads(line)["loss"] for line in (prepared.folder / "model-axis/ledger.jsonl").open()]
    alone = [json.loads(line)["loss"] for line in straight[2].splitlines()]
    assert ours[:20] == alone[:20]
    for mine, theirs in zip(ours[20:], alone[20:], strict=False):
        assert float.fromhex(mine) == pytest.approx(float.fromhex(theirs), rel=1e-3)


def losses(runs: Runs, run: str) -> list[float]:
    return [float.fromhex(json.loads(line)["loss"]) for line in (runs.folder / run / "ledger.jsonl").open()]


@pytest.mark.parametrize("axis", ["stage", "sequence"])
def test_one_device_reads_checkpoints_of_any_axis(prepared: Runs, axis: str) -> None:
    alone, run = f"{axis}-1", f"{axis}-2"
    prepared.train(alone, "model.layers=2", "--until", 12)
    _, err = prepared.train(run, "model.layers=2", f"mesh.{axis}=2", "--until", 12)
    bubble = "pipeline of 2 stages, 4 micro-batches from step 1: each stage is idle for 20.0% of the time"
    assert (bubble in err) == (axis == "stage")
    assert losses(prepared, run) == pytest.approx(losses(prepared, alone), rel=1e-4)
    prepared("verify", run)
    prepared.train(run, "model.layers=2", "--until", 14)


def test_two_processes_have_the_bits_of_one(prepared: Runs, straight: Bits) -> None:
    prepared.train("processes", "mesh.data=4", "--processes", 2, "--until", 13)
    started = prepared.start_train("processes", "mesh.data=2", "--processes", 2)
    ledger = prepared.folder / "processes" / "ledger.jsonl"
    while started.poll() is None and ledger.read_bytes().count(b"\n") < 32:
        time.sleep(0.02)
    second = next(pid for pid in children(started.pid) if b"127.0.0.1" in environ(pid) and environ(pid).endswith(b" 1"))
    os.kill(second, signal.SIGKILL)
    _, err = started.communicate(timeout=120)
    assert started.returncode == 1
    assert b"process 1 of 2 was ended by SIGKILL" in err
    prepared.train("processes", "mesh.pod=2")
    assert prepared.bits("processes") == straight


def start_two(prepared: Runs, run: str) -> "subprocess.Popen[bytes]":
    """Starts a training in two processes, and waits until it has taken some steps."""
    ledger = prepared.folder / run / "ledger.jsonl"
    started = prepared.start_train(run, "mesh.data=2", "--processes", 2, "--stopped-exit", 75, "--json")
    while started.poll() is None and not (ledger.exists() and ledger.read_bytes().count(b"\n") >= 5):
        time.sleep(0.02)
    return started


def test_processes_stop_together_at_a_signal(prepared: Runs, straight: Bits) -> None:
    started = start_two(prepared, "signalled-two")
    started.send_signal(signal.SIGTERM)
    out, err = started.communicate(timeout=120)
    assert started.returncode == 75, err.decode()
    assert json.loads(out)["steps"] >= 5, "nothing else is on standard output"
    assert len(events(prepared, "signalled-two", "stopped")) == 1
    prepared.train("signalled-two")
    assert prepared.bits("signalled-two") == straight


def test_processes_end_with_their_launcher(prepared: Runs) -> None:
    started = start_two(prepared, "orphaned")
    orphans = children(started.pid)
    assert len(orphans) == 2
    started.kill()
    started.communicate(timeout=120)
    deadline = time.monotonic() + 30
    while any(map(is_alive, orphans)):
        assert time.monotonic() < deadline, "a process outlives its launcher"
        time.sleep(0.05)
    assert len(events(prepared, "orphaned", "stopped")) == 0, "it was not told to stop"


@pytest.mark.parametrize("mesh", [[], ["mesh.data=2", "--processes", 2]], ids=["one", "two"])
def test_a_reader_that_goes_away_changes_nothing(prepared: Runs, straight: Bits, mesh: list[object]) -> None:
    started = prepared.start_train(f"unread-{len(mesh)}", *mesh)
    for stream in (started.stdout, started.stderr):
        assert stream is not None
        stream.close()
    try:
        assert started.wait(timeout=300) == 0
    finally:
        started.kill()
    assert prepared.bits(f"unread-{len(mesh)}") == straight


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def environ(pid: int) -> bytes:
    """Returns the place in the cluster that a process was given."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((v for v in variables if v.startswith(b"PALMETTO_PROCESS=")), b"")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mesh.data=3"], "mesh.data=3: must be a power of two"),
        (["mesh.data=8"], "has 4 micro-batches of 1 for the 8 devices of mesh.data"),
        (["mesh.model=3"], "must divide model.d_model (32), model.heads (2) and model.d_ff (128): 1 or 2 would do"),
        (["mesh.expert=2"], "mesh.expert=2: must divide model.experts.count"),
        (
            ["mesh.data=2", "--processes", "3"],
            "--processes 3: must divide the devices of the mesh (2): 1 or 2 would do",
        ),
        (["--coordinator", "127.0.0.1:1"], "--process-count, --process-index: missing"),
        (["mesh.data=2", "--processes", "2", "--distributed"], "--processes 2: starts a cluster on this machine"),
        (["mesh.data=4", "--processes", "2", "training.threads=1"], "training.threads"),
        (["mesh.data=2", "--processes", "2", "corpus.source=/nowhere"], "/nowhere"),
        (
            ["--coordinator", "127.0.0.1:1", "--process-count", "2", "--process-index", "2"],
            "--process-index 2: expected 0 to 1",
        ),
    ],
)
def test_invalid_options_are_refused_in_one_line(prepared: Runs, arguments: list[str], says: str) -> None:
    _, err = prepared.train("refused", *arguments, expect=2)
    assert says in err
    assert len(err.strip().splitlines()) == 1


QUICKSTART_MESHES = (["mesh.data=4", "mesh.pod=2"], ["mesh.data=8", "mesh.zero=1"])


def test_the_quickstart_has_one_digest_on_every_layout(prepared: Runs) -> None:
    """Eight leaves, and as many threads, give each of eight devices one."""
    eight = ("training.batch_size=32", "training.threads=8")
    common = ["quickstart", *eight, "training.steps=8", "training.validation_windows=8"]
    runs = prepared.optimized()
    runs("train", *common, "--run", "quickstart-alone")
    alone = runs.bits("quickstart-alone")
    for number, mesh in enumerate(QUICKSTART_MESHES):
        run = runs.folder / f"quickstart-{number}"
        runs.copy_tokens("quickstart-alone", run.name)
        runs("train", *common, *mesh, "--run", run.name)
        assert runs.bits(run.name) == alone, mesh
