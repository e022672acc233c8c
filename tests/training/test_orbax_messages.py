"""Failures of orbax are reported once, and messages of other packages are kept."""

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from palmetto.training.orbax_messages import tell_once


def test_late_errors_of_orbax_readers_print_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They concern other arrays than the one whose absence was raised."""
    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    tell_once()
    error = Exception("Encountered error while reading array index: (slice(0, 16),)")
    sys.unraisablehook(SimpleNamespace(exc_value=error))
    assert printed == []
    other = SimpleNamespace(exc_value=Exception("another"))
    sys.unraisablehook(other)
    assert printed == [other]


def test_only_orbax_tasks_are_removed_from_the_asyncio_log(caplog: pytest.LogCaptureFixture) -> None:
    """If several arrays are missing, the first error is raised and asyncio logs tracebacks of the others."""
    tell_once()
    log = logging.getLogger("asyncio")
    for place in ("orbax/checkpoint", "elsewhere"):
        log.error("Task exception was never retrieved\nfuture: <Task coro=<read() in %s/read.py>>", place)
    log.error("_GatheringFuture exception was never retrieved\n('Encountered error while reading array index')")
    assert [record.args for record in caplog.records] == [("elsewhere",)]


def test_messages_of_other_packages_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    tell_once()
    log = logging.getLogger("absl")
    for place in ("/site-packages/orbax/checkpoint/handler.py", "/home/me/train.py"):
        log.handle(log.makeRecord("absl", logging.ERROR, place, 1, "failed", (), None))
    assert [record.pathname for record in caplog.records] == ["/home/me/train.py"]


def test_importing_checkpoints_changes_neither_hooks_nor_loggers() -> None:
    code = (
        "import logging, sys, orbax.checkpoint; level = logging.getLogger('absl').level\n"
        "import palmetto.training.checkpoint\n"
        "assert sys.unraisablehook is sys.__unraisablehook__\n"
        "assert logging.getLogger('absl').level == level\n"
        "assert not logging.getLogger('asyncio').filters\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
