"""The temporary directory of a drill: a small text, a tiny recipe, its tokens, and runs.

Runs are changed only by commands in processes of their own, as a user would type them.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from palmetto.corpus.reading import python_text
from palmetto.drills.command import Command, Output
from palmetto.drills.report import Digests
from palmetto.files import read_json, sha256, write_bytes, write_text
from palmetto.json_lines import read_json_lines
from palmetto.recipe import Recipe, loading
from palmetto.runs.directory import RunDirectory
from palmetto.training import ledger
from palmetto.training.ledger import Line
from palmetto.workflow.tokens import build_tokens

RECIPE = """
name: drill
corpus: {section_bytes: 8192, validation_share: 0.1}
tokens: {vocabulary_size: 512, sequence_length: 32}
model: {layers: 2, d_model: 32, heads: 2}
training:
  steps: 40
  batch_size: 8
  optimizer: {parameter_scale: false}
  schedule: {peak: 3e-2, hold: 20}
  checkpoint_every: 10
  evaluate_every: 20
  validation_windows: 16
  digest_every: 10
  peak_flops: 1e11
  spikes: {threshold: 4, window: 16, patience: 2, rewind: 10, skip: 20}
"""

_TEXT_BYTES = 100_000
_PALMETTO = "from palmetto.cli.app import main; main()"


class Workplace:
    """A text, a recipe and their tokens, for any number of runs."""

    def __init__(self, folder: Path, recipe_file: Path, recipe: Recipe, tokens: RunDirectory) -> None:
        self.folder, self.recipe_file, self.recipe = folder, recipe_file, recipe
        self._tokens = tokens

    @classmethod
    def make(cls, folder: Path) -> "Workplace":
        """Fills an empty folder. The text is a part of that of this Python's installation."""
        text, size = folder / "text", 0
        for name, content in python_text.texts():
            data = content.encode("utf-8", "surrogateescape")
            write_bytes(text / f"{name.replace('/', '-')}.txt", data)
            size += len(data)
            if size >= _TEXT_BYTES:
                break
        recipe_file = folder / "drill.yaml"
        write_text(recipe_file, RECIPE)
        recipe = loading.load(str(recipe_file), [f"corpus.source={json.dumps(str(text))}"])
        write_text(recipe_file, loading.dump(recipe))
        tokens = RunDirectory(folder / "tokens-only")
        build_tokens(tokens, recipe, lambda text: None)
        return cls(folder, recipe_file, recipe, tokens)

    def run(self, name: str, *overrides: str) -> "Run":
        """Makes a run whose tokens are built; `overrides` change the recipe in all of its `train` commands."""
        shutil.copytree(self._tokens.path, self.folder / name)
        return Run(self.folder, name, overrides)

    def copy(self, run: "Run", name: str) -> "Run":
        """Copies a run under another name, to verify the copy or to restore the run from it."""
        shutil.copytree(run.path, self.folder / name)
        return Run(self.folder, name, ())


class Run(RunDirectory):
    """A run directory and its commands. A command with an unexpected exit code raises PromiseBroken."""

    def __init__(self, folder: Path, name: str, overrides: tuple[str, ...]) -> None:
        super().__init__(folder / name)
        self.name = name
        self._folder = folder
        self._train = ("train", "drill.yaml", "--run", name, *overrides)
        self._events_told = 0

    # Commands

    def train(self, *arguments: str, expect: int = 0, **options: Any) -> Output:
        """Runs `palmetto train`, the same command each time except for `arguments`."""
        return self.command(*self._train, *arguments, expect=expect, **options)

    def start_train(self, *arguments: str) -> Command:
        """Returns the same command, which starts with its context and is not waited for."""
        return self.start(*self._train, *arguments)

    def verify(self, expect: int = 0) -> str:
        """Runs `palmetto verify`; returns its answer."""
        return self.command("verify", self.name, expect=expect).out.strip()

    def command(self, *arguments: str, expect: int = 0, **options: Any) -> Output:
        """Runs a command to its end. `options` are those of `start`."""
        with self.start(*arguments, **options) as command:
            return command.end(expect)

    def kill_when(self, what: str, instant: Callable[[], bool]) -> bool:
        """Runs `palmetto train` and kills it (SIGKILL) as soon as `instant()` is true; returns whether it was killed.

        Raises PromiseBroken if the run ends in another way than by this kill or with exit code 0.
        """
        with self.start_train() as command:
            if not command.wait_for(what, instant):
                command.end(0)
                return False
            command.kill()
            command.end(-signal.SIGKILL, 0)
            return command.code != 0

    def start(
        self, *arguments: str, program: str = _PALMETTO, environment: dict[str, str] | None = None, **options: Any
    ) -> Command:
        """Returns a command that runs `program`, a Python text, in the workplace. `options` are those of Popen."""
        # The processes of a drill share a cache of compiled programs.
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(self._folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        }
        return Command(arguments, self._folder, program, cache | os.environ | (environment or {}), **options)

    def put_back(self, copy: "Run") -> None:
        """Restores the run from a copy, which is used up. All its events count as reported."""
        shutil.rmtree(self.path)
        copy.path.rename(self.path)
        self._events_told = len(read_json_lines(self.events))

    # Evidence

    def state_digests(self) -> Digests:
        """Returns the digests of parameters and optimizer state in the summary of the last command."""
        return dict(read_json(self.summary)["digest"])

    def digests(self) -> Digests:
        """Returns the digests of parameters, optimizer state and ledger, none of which may differ."""
        return self.state_digests() | {"ledger": sha256(self.ledger)}

    def lines(self) -> list[Line]:
        """Returns the lines of the ledger so far."""
        return ledger.read(self.ledger)[0]

    def line_count(self) -> int:
        """Returns the number of complete lines in the ledger, without parsing them."""
        return self.ledger.read_bytes().count(b"\n") if self.ledger.exists() else 0

    def new_events(self) -> list[dict[str, Any]]:
        """Returns the events logged since the last call, without validations."""
        events = read_json_lines(self.events)
        new, self._events_told = events[self._events_told :], len(events)
        return [
            event | {"text": event["text"].replace(f"{self._folder}/", "")}
            for event in new
            if event["event"] != "validation"
        ]

    def whole_checkpoints(self) -> list[int]:
        """Returns the steps of the checkpoints that have a manifest, ascending."""
        return sorted(int(manifest.parent.name) for manifest in self.checkpoints.glob("[0-9]*/manifest.json"))

    def incomplete_checkpoint(self) -> int | None:
        """Returns the step of a checkpoint after all complete ones, which is being written or, after a rollback,
        deleted; None if there is none."""
        steps = [int(directory.name) for directory in self.checkpoints.glob("[0-9]*")]
        whole = self.whole_checkpoints()
        return next((step for step in steps if step > max(whole, default=0)), None)
