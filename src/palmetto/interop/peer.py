"""A foreign runtime in an environment of its own, which answers what it computes of an export."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from palmetto import files
from palmetto.errors import RunStopped, UserError
from palmetto.interop.forms import Array


class Runtime(NamedTuple):
    """Describes what a target is opened with."""

    packages: tuple[str, ...]
    modules: tuple[str, ...]
    """The modules that an environment must have."""
    script: str
    """The file of peers/ that answers."""
    misread: str = ""
    """The characters that its tokenizer takes for others."""
    bounds: Mapping[str, float] = {}
    """The allowed difference between logits, as a share of the largest, for types and activations that it rounds."""

    def bound(self, *what: str) -> float:
        """Returns how far logits may be apart with a type and an activation."""
        return max(BOUND, *(self.bounds.get(each, BOUND) for each in what))


BOUND = 1e-4
"""The allowed difference between logits, as a share of the largest (at least 1), if both sides compute in float32."""
_HALF = {"float16": 1e-2, "bfloat16": 1e-2, "gelu_tanh": 1e-2}
"""llama.cpp multiplies in the type of the weights, and looks GELU up in a table of float16."""
RUNTIMES: Mapping[str, Runtime] = {
    "huggingface": Runtime(
        ("torch", "transformers", "sentencepiece", "numpy"),
        ("sentencepiece", "torch", "transformers"),
        "huggingface.py",
    ),
    "gguf": Runtime(("xllamacpp", "numpy"), ("numpy", "xllamacpp"), "llamacpp.py", "\u2581", _HALF),
    "ctranslate2": Runtime(
        ("ctranslate2", "numpy"), ("numpy", "ctranslate2"), "ctranslate2_.py", bounds={"int8": 0.05}
    ),
}


class Question(NamedTuple):
    """Holds what is asked: logits of windows, greedy tokens after prompts of one length, ids of texts."""

    windows: Sequence[Sequence[int]]
    prompts: Sequence[Sequence[int]]
    tokens: int
    texts: Sequence[str]
    prefix: int
    """The number of first positions of a window that see each other; 0 if the model has no prefix."""
    vocabulary: int
    """V, the number of logits."""


class Answer(NamedTuple):
    """Holds logits float32 [windows, T, V], the greedy tokens, the ids if it has a tokenizer, and what computed them.

    A runtime that gives no logits of a window gives the log-probabilities [prompts, V] of the token after each prompt.
    """

    logits: Array
    greedy: list[list[int]]
    ids: list[list[int]] | None
    versions: str


def environment(runtime: Runtime, folder: Path | None, say: Callable[[str], None]) -> Path | None:
    """Returns the Python of an environment with the runtime, or None if there is none and none was asked for.

    A folder that is absent becomes an environment; pip's own settings say where packages come from. Raises UserError if
    that fails, or if an environment that is there lacks the runtime.
    """
    if folder is None:
        return None
    python = folder / "bin" / "python"
    if not folder.exists():
        say(f"making {folder} with {', '.join(runtime.packages)}: minutes, and for torch gigabytes, without output")
        try:
            for command in (
                [sys.executable, "-m", "venv", str(folder)],
                [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *runtime.packages],
            ):
                _run(command, f"--peer-environment {folder}: cannot be made")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # so that the next call tries again
            raise
    if not python.exists():
        raise UserError(
            f"--peer-environment {folder}: no virtual environment; expected one, or a path where nothing is"
        )
    imports = f"import {', '.join(runtime.modules)}"
    _run([str(python), "-c", imports], f"--peer-environment {folder}: lacks {', '.join(runtime.packages)}")
    return python


def ask(runtime: Runtime, python: Path, folder: Path, question: Question) -> Answer:
    """Returns what the runtime computes of the export in a folder; raises RunStopped if it cannot open it."""
    with files.temporary_folder("palmetto-check-") as there:
        asked, answered = there / "question.json", there / "answer.npz"
        asked.write_text(json.dumps(question._asdict()))
        script = Path(__file__).parent / "peers" / runtime.script
        command = [str(python), "-I", str(script), str(folder.absolute()), str(asked), str(answered)]
        try:
            _run(command, f"{folder}: {runtime.modules[-1]} cannot open it")
        except UserError as error:
            raise RunStopped(str(error)) from None
        try:
            with np.load(answered) as found:
                greedy, ids = json.loads(str(found["greedy"])), json.loads(str(found["ids"]))
                return Answer(found["logits"], greedy, ids, str(found["versions"]))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            raise RunStopped(f"--peer-environment: {python} gave no answer about {folder}") from None


def _run(command: Sequence[str], failure: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise UserError(f"{failure} ({error.strerror})") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"{failure} ({lines[-1] if lines else f'exit code {done.returncode}'})")
