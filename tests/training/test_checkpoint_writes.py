"""Writing checkpoints: the manifest comes last, and a failed write is reported."""

import json
import resource
import threading
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.runs import manifest as manifests
from palmetto.runs.manifest import Manifest
from palmetto.training import checkpoint, orbax_messages
from palmetto.training.checkpoint import Checkpoints
from tests.references.checkpoint_states import FIELDS, TABLE, some_state


def test_a_failed_write_raises_and_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)

    def fail(path: Path) -> str:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "sha256", fail)
        checkpoints.save(some_state(1), step=1, **FIELDS)
        with pytest.raises(UserError, match=r"00000001: the checkpoint could not be written \(the disk is full\)"):
            checkpoints.wait()
    assert checkpoints.steps() == []
    checkpoints.save(some_state(2), step=2, **FIELDS)
    checkpoints.wait()
    assert checkpoints.steps() == [2]


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not exist before every other file does, since it marks the checkpoint as complete."""
    written: list[Manifest] = []

    def note(path: Path, text: str) -> None:
        arrays = path.parent / "arrays"
        present = {str(file.relative_to(arrays)) for file in arrays.rglob("*") if file.is_file()}
        assert set(json.loads(text)["files"]) == present
        assert not path.exists()
        written.append(json.loads(text))

    monkeypatch.setattr(checkpoint, "write_text", note)
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)
    checkpoints.save(some_state(1), step=1, **FIELDS)
    checkpoints.wait()
    assert len(written) == 1
    assert checkpoints.steps() == []


def check_until_it_raises(checkpoints: Checkpoints) -> None:
    for _ in range(6000):
        checkpoints.check()
        time.sleep(0.01)


def test_check_raises_a_failed_write_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints, full = Checkpoints(tmp_path / "checkpoints", TABLE), threading.Event()

    def fail_later(path: Path) -> str:
        full.wait()
        raise OSError("the disk is full")

    monkeypatch.setattr(manifests, "sha256", fail_later)
    checkpoints.check()
    checkpoints.save(some_state(1), step=1, **FIELDS)
    checkpoints.check()  # would hang if it waited
    full.set()
    with pytest.raises(UserError, match="the disk is full"):
        check_until_it_raises(checkpoints)
    checkpoints.check()
    checkpoints.wait()


def test_a_failed_write_names_file_and_reason_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path.joinpath(*["a" * 100] * 5) / "checkpoints"
    checkpoints = Checkpoints(directory, {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        noise = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)  # 256 KiB that cannot be compressed
        monkeypatch.setattr(checkpoints, "_to_matrices", lambda state: {"parameters": {"q": jnp.asarray(noise)}})
        checkpoints.save(some_state(1), step=7, **FIELDS)
        with pytest.raises(UserError) as caught:
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = str(caught.value)
    assert told.startswith(f"{directory}/00000007: the checkpoint could not be written (")
    assert "arrays/ocdbt.process_0/d/" in told, "a name that it has only until it is whole"
    assert "File too large" in told
    assert told.count(str(directory)) == 1
    assert "\n" not in told


def test_a_long_error_is_shortened_and_an_empty_one_named(tmp_path: Path) -> None:
    for error, expected in (
        (OSError("x" * 1000 + " the disk is full\nat line 1"), f"(…{'x' * 282} the disk is full)"),
        (OSError("f: no room [spec='{\"a\": [1]}'] [source locations='b.cc:1'] [os_error_code='28']"), "(f: no room)"),
        (KeyError(), "(KeyError)"),
        (OSError(28, "No space left on device", f"{tmp_path}/arrays"), "([Errno 28] No space left on device: '"),
    ):
        with pytest.raises(UserError) as caught, orbax_messages.writing(tmp_path, 12345):
            raise error
        assert expected in str(caught.value)
        assert "with room on the disk for about 12,345 bytes, the same command" in str(caught.value)


def test_a_write_without_permission_asks_for_permission(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught, orbax_messages.writing(tmp_path, 12345):
        raise PermissionError(13, "Permission denied", f"{tmp_path}/arrays")
    assert "with permission to write, the same command goes on" in str(caught.value)
    assert "room" not in str(caught.value)
