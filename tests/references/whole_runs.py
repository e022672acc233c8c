"""Starts whole runs as a user does, with the installed command in separate processes.

Commands that are only waited for are forks of a process that has large libraries loaded.
"""

import atexit
import contextlib
import copy
import functools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from palmetto.decoding.trained import restore
from palmetto.runs.directory import RunDirectory
from tests.conftest import UNOPTIMIZED
from tests.references.exported import outside
from tests.references.warm import warmed

PALMETTO = str(Path(sys.executable).with_name("palmetto"))

RECIPE = """
corpus: {section_bytes: 8192, validation_share: 0.1}
tokens: {vocabulary_size: 512, sequence_length: 32}
model: {layers: 1, d_model: 32, heads: 2}
training:
  steps: 60
  batch_size: {0: 4, 20: 8}
  schedule: {peak: 1e-2, hold: 20}
  checkpoint_every: 10
  evaluate_every: 20
  validation_windows: 16
  digest_every: 10
  peak_flops: 1e11
  spikes: {window: 8, rewind: 10, skip: 20}
"""

# The threshold is so low that the noise of small batches causes spikes, the same ones in every run.
SPIKY = [
    "training.spikes.threshold=1.2",
    "training.spikes.patience=1",
    "training.spikes.attempts=9",
    "training.spikes.rewind=5",
    "training.spikes.skip=12",
    "training.spikes.nonfinite_patience=5",
]


LIBRARIES = ("orbax.checkpoint", "optax", "sentencepiece", "palmetto.cli.app", "palmetto.recipe")
"""The modules that most commands load, beside JAX."""
READ_BY_LIBRARIES = ("JAX", "XLA", "TF_", "TPU", "PYTHON", "LD_")
"""The beginnings of the names of variables that libraries read when they are loaded."""


@functools.cache
def warm(variables: frozenset[tuple[str, str]]) -> list[str]:
    """Returns a command that does as `palmetto`, in forks of a process that has the libraries loaded.

    variables: those that the libraries read. The process ends with this one.
    """
    stack = contextlib.ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="palmetto-warm-"))
    environment = {name: value for name, value in outside().items() if not name.startswith(READ_BY_LIBRARIES)}
    client = warmed(Path(sys.executable), Path(folder), *LIBRARIES, environment=environment | dict(variables))
    atexit.register(stack.close)
    return [str(stack.enter_context(client)), PALMETTO]


class Runs:
    """Starts the command line in a working directory with a small text and a small recipe."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.recipe, self.text = folder, folder / "tiny.yaml", folder / "text"
        self.command = [PALMETTO]
        self._environment = outside()

    def importing(self, *modules: str) -> "Runs":
        """Returns the same runs in processes that first import these modules of the tests."""
        runs = copy.copy(self)
        runs.command = [sys.executable, "-c", f"import {', '.join(modules)}; import palmetto.__main__ as p; p.main()"]
        runs._environment = self._environment | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return runs

    def optimized(self) -> "Runs":
        """Returns the same runs with programs that are compiled as users' are (see `optimized` in conftest.py)."""
        runs = copy.copy(self)
        runs._environment = {name: value for name, value in self._environment.items() if name != UNOPTIMIZED}
        return runs

    def _warm(self) -> "Runs":
        """Returns the same runs in processes that have libraries loaded, which a signal from outside does not reach."""
        if self.command != [PALMETTO]:
            return self
        runs = copy.copy(self)
        read = {name: value for name, value in self._environment.items() if name.startswith(READ_BY_LIBRARIES)}
        runs.command = warm(frozenset(read.items()))
        return runs

    def start(self, *arguments: object, **options: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            cwd=self.folder,
            env=self._environment,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def __call__(self, *arguments: object, expect: int = 0, standard_input: bytes | None = None, **options: Any) -> Any:
        """Runs a command to its end; returns (standard output, standard error). Its exit code must be `expect`."""
        runs = self if options else self._warm()
        if standard_input is not None:
            options["stdin"] = subprocess.PIPE
        process = runs.start(*arguments, **options)
        out, err = process.communicate(standard_input, timeout=600)
        assert process.returncode == expect, f"exit {process.returncode}\n{out.decode()}\n{err.decode()}"
        assert b"Traceback" not in err, err.decode()
        return out.decode(errors="surrogateescape"), err.decode()

    def train(self, run: str, *arguments: object, **options: Any) -> Any:
        """Runs `palmetto train` on the small text, with tokens that are already built."""
        return self(*self._train(run), *arguments, **options)

    def start_train(self, run: str, *arguments: object) -> "subprocess.Popen[bytes]":
        """Starts the same command without waiting for it."""
        return self.start(*self._train(run), *arguments)

    def _train(self, run: str) -> list[object]:
        if not (self.folder / run).exists():
            shutil.copytree(self.folder / "tokens-only", self.folder / run)
        return ["train", self.recipe, "--run", run, f"corpus.source={self.text}"]

    def copy_tokens(self, run: str, other: str) -> None:
        """Makes a new run directory with the vocabulary and tokens of a run."""
        (self.folder / other).mkdir()
        shutil.copy(self.folder / run / "vocabulary.model", self.folder / other)
        for name in ("tokens", "stages"):
            shutil.copytree(self.folder / run / name, self.folder / other / name)

    def kill_at(self, run: str, lines: int, *arguments: object, how: int = signal.SIGKILL, delay: float = 0.0) -> int:
        """Trains until the ledger holds `lines` lines, sends a signal `delay` seconds later; returns the exit code."""
        process = self.start_train(run, *arguments)
        ledger = self.folder / run / "ledger.jsonl"
        before = _lines(ledger)
        try:
            while process.poll() is None and not (_lines(ledger) >= lines and _lines(ledger) != before):
                time.sleep(0.005)
            time.sleep(delay)
            process.send_signal(how)
            process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
        return process.returncode

    def bits(self, run: str) -> tuple[str, str, bytes]:
        """Returns the digests of parameters and optimizer state and the ledger's bytes, none of which may differ."""
        state, _, checkpoints = restore(RunDirectory(self.folder / run))
        return *checkpoints.digests(state), (self.folder / run / "ledger.jsonl").read_bytes()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
