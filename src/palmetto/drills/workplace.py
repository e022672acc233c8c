"""Where a drill works: a temporary directory with a small text, a tiny recipe, its tokens, and runs of them.

All that is done to a run is done by commands in processes of their own, as a user would type them.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from palmetto.corpus.reading import python_text
from palmetto.drills.command import Command, Said
from palmetto.drills.report import Digests
from palmetto.files import read_json, read_json_lines, sha256, write_bytes, write_text
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.training import ledger
from palmetto.training.ledger import Line
from palmetto.workflow import stages

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
    """A text, a recipe and the tokens made of them, for as many runs as a drill needs."""

    def __init__(self, folder: Path) -> None:
        """`folder` is empty; the text is the first of this Python's own."""
        self.folder = folder
        text, size = folder / "text", 0
        for name, content in python_text.texts():
            data = content.encode("utf-8", "surrogateescape")
            write_bytes(text / f"{name.replace('/', '-')}.txt", data)
            size += len(data)
            if size >= _TEXT_BYTES:
                break
        self.recipe_file = folder / "drill.yaml"
        write_text(self.recipe_file, RECIPE)
        self.recipe = loading.load(str(self.recipe_file), [f"corpus.source={json.dumps(str(text))}"])
        write_text(self.recipe_file, loading.dump(self.recipe))
        self._tokens = RunDirectory(folder / "tokens-only")
        stages.build_tokens(self._tokens, self.recipe, lambda text: None)

    def run(self, name: str, *overrides: str) -> "Run":
        """A new run, its tokens built; `overrides` change the recipe in each of its `train` commands."""
        shutil.copytree(self._tokens.path, self.folder / name)
        return Run(self.folder, name, overrides)

    def copy(self, run: "Run", name: str) -> "Run":
        """A run as it stands, under another name, to verify or to put back."""
        shutil.copytree(run.path, self.folder / name)
        return Run(self.folder, name, ())


class Run(RunDirectory):
    """A run directory and the commands that work on it. One that ends otherwise than expected breaks the promise."""

    def __init__(self, folder: Path, name: str, overrides: tuple[str, ...]) -> None:
        super().__init__(folder / name)
        self.name = name
        self._folder = folder
        self._train = ("train", "drill.yaml", "--run", name, *overrides)
        self._events_told = 0

    # Commands

    def train(self, *arguments: str, expect: int = 0, **options: Any) -> Said:
        """`palmetto train`, the same command each time but for `arguments`."""
        return self.command(*self._train, *arguments, expect=expect, **options)

    def start_train(self, *arguments: str) -> Command:
        """The same command, not waited for."""
        return self.start(*self._train, *arguments)

    def verify(self, expect: int = 0) -> str:
        """What `palmetto verify` answers."""
        return self.command("verify", self.name, expect=expect).out.strip()

    def command(self, *arguments: str, expect: int = 0, **options: Any) -> Said:
        """Any command to its end; PromiseBroken unless it exits with `expect`. `options` are those of `start`."""
        with self.start(*arguments, **options) as command:
            return command.end(expect)

    def kill_when(self, what: str, instant: Callable[[], bool]) -> bool:
        """`palmetto train`, killed (SIGKILL) as soon as `instant` has come; whether it came before the end.

        PromiseBroken where the run ended otherwise than by this or by being done.
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
        """Python's `program` as a process in the workplace, with more in its environment; `options` are Popen's."""
        # The processes of a drill share what they compile.
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(self._folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        }
        return Command(arguments, self._folder, program, cache | os.environ | (environment or {}), **options)

    def put_back(self, copy: "Run") -> None:
        """Has the run be what it was when the copy was made of it, all events told; there is no copy then."""
        shutil.rmtree(self.path)
        copy.path.rename(self.path)
        self._events_told = len(read_json_lines(self.events))

    # What there is to see of it

    def state_digests(self) -> Digests:
        """Of parameters and optimizer state at the end of the last command, as its summary has them."""
        return dict(read_json(self.summary)["digest"])

    def digests(self) -> Digests:
        """The same and that of the ledger's bytes: all that must not differ."""
        return self.state_digests() | {"ledger": sha256(self.ledger)}

    def lines(self) -> list[Line]:
        """The ledger so far."""
        return ledger.read(self.ledger)[0]

    def line_count(self) -> int:
        """How many lines the ledger has, the last one perhaps not all of it; quicker than to read them."""
        return self.ledger.read_bytes().count(b"\n") if self.ledger.exists() else 0

    def new_events(self) -> list[dict[str, Any]]:
        """What was logged since this was last asked, validations left out; `text` is what was said."""
        events = read_json_lines(self.events)
        new, self._events_told = events[self._events_told :], len(events)
        return [
            event | {"text": event["text"].replace(f"{self._folder}/", "")}
            for event in new
            if event["event"] != "validation"
        ]

    def whole_checkpoints(self) -> list[int]:
        """The steps of those that have their manifest, ascending."""
        return sorted(int(manifest.parent.name) for manifest in self.checkpoints.glob("[0-9]*/manifest.json"))

    def incomplete_checkpoint(self) -> int | None:
        """The step of one, behind all whole ones, that is being written (or, after a rollback, deleted)."""
        steps = [int(directory.name) for directory in self.checkpoints.glob("[0-9]*")]
        whole = self.whole_checkpoints()
        return next((step for step in steps if step > max(whole, default=0)), None)
