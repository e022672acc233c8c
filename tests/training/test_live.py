"""Checkpoints that training deletes while they are looked at."""

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from palmetto.training import checkpoint, live
from palmetto.training.checkpoint import Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Stand for those of a run: a folder with checkpoint 20."""
    (tmp_path / "00000020").mkdir()
    (tmp_path / "00000020" / "manifest.json").write_text("first")
    return cast(Checkpoints, SimpleNamespace(path=tmp_path))


def test_what_is_found_is_returned(checkpoints: Checkpoints) -> None:
    assert live.read(checkpoints, 20, lambda: 7) == 7


def test_one_that_is_deleted_meanwhile_is_passed_over(checkpoints: Checkpoints) -> None:
    def look() -> int:
        shutil.rmtree(checkpoints.path / "00000020")
        raise ValueError("arrays: half of them are missing")

    assert live.read(checkpoints, 20, look) is None
    assert live.read(checkpoints, 20, lambda: 7) is None


def test_one_that_is_written_again_meanwhile_is_passed_over(checkpoints: Checkpoints) -> None:
    def look() -> int:
        (checkpoints.path / "00000020" / "manifest.json").write_text("second")
        return 7

    assert live.read(checkpoints, 20, look) is None


def test_an_error_of_one_that_stays_is_raised(checkpoints: Checkpoints) -> None:
    def look() -> int:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        live.read(checkpoints, 20, look)


def test_readers_left_behind_by_a_deletion_print_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """orbax's, of arrays beside the one whose absence was raised."""
    printed: list[object] = []
    monkeypatch.setattr(checkpoint, "_usual_hook", printed.append)
    checkpoint._hook(
        SimpleNamespace(exc_value=Exception("Encountered error while reading array index: (slice(0, 16),)"))
    )
    assert printed == []
    other = SimpleNamespace(exc_value=Exception("another"))
    checkpoint._hook(other)
    assert printed == [other]


def test_only_orbax_s_forgotten_tasks_are_kept_from_asyncio_s_log(caplog: pytest.LogCaptureFixture) -> None:
    """Where several arrays are gone, the first error is raised and asyncio tells of the others in tracebacks."""
    log = logging.getLogger("asyncio")
    for place in ("orbax/checkpoint", "elsewhere"):
        log.error("Task exception was never retrieved\nfuture: <Task coro=<read() in %s/read.py>>", place)
    log.error("_GatheringFuture exception was never retrieved\n('Encountered error while reading array index')")
    assert [record.args for record in caplog.records] == [("elsewhere",)]
