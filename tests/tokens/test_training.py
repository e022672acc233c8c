"""Tests that training in a process of its own can be stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from palmetto.errors import RunStopped
from palmetto.tokens import training

ENDLESS = (sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(600)")

ORPHAN = """
import os, sys, time
from palmetto.tokens import training

def sentences():
    yield "a sentence"
    print("read", flush=True)
    time.sleep(600)

training.train(sentences(), {})
"""


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


def is_alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_interrupt_stops_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "COMMAND", ENDLESS)
    before = children()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        training.train(["a sentence"], {})
    assert children() == before, "it is ended with it"


def test_one_that_is_killed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(training, "COMMAND", (sys.executable, "-c", killed))
    with pytest.raises(RunStopped, match=r"^the training of the vocabulary was ended by SIGKILL: "):
        training.train(["a sentence"] * 100_000, {})


def test_it_ends_with_the_process_that_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"read\n"
        (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert is_alive(child)
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 30
    while is_alive(child):
        assert time.monotonic() < deadline, "it goes on without its parent"
        time.sleep(0.05)


def test_half_a_text_is_not_trained_on() -> None:
    """A parent that ended may have had more text to send."""
    settings = b'{"model_type": "bpe", "vocab_size": 300, "minloglevel": 2}\n'
    done = subprocess.run(
        [*training.COMMAND, str(os.getpid())], input=settings + b"a sentence\n" * 100, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")
