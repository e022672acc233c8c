"""The programs of decode_cpu.py, each in a process of its own that answers one question at a time (peers/asked.py)."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from decode_model import TARGETS, Made
from peer_environment import python_of, torch_python

HERE = Path(__file__).resolve().parent
CTRANSLATE2, LLAMACPP = HERE.parent / ".venv-ctranslate2", HERE.parent / ".venv-llamacpp"
CORES = len(os.sched_getaffinity(0))
REST = 0.5
"""The seconds between turns: threads of the program before, such as OpenMP's, go on looking for work for a while."""


class Runner:
    """A program that continues prompts on request."""

    def __init__(self, name: str, weights: str, command: Sequence[object], threads: Sequence[str] = ()) -> None:
        """Starts the program. threads: the choices of a peer's threads."""
        self.name, self.weights, self.threads, self.trial = name, weights, "", 0.0
        self._choices = threads
        self._process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    @classmethod
    def palmetto(cls, made: Made, weights: str) -> "Runner":
        """Starts Palmetto's engine."""
        command = [sys.executable, HERE / "decode_palmetto.py", made.run.path, weights]
        return cls(f"palmetto {weights}", weights, command)

    def ask(self, **question: Any) -> dict[str, Any]:
        """Returns the answer to a question."""
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def take(self, prompts: list[list[int]], new: int, **others: Any) -> dict[str, Any]:
        """Returns the seconds that prompts take to get so many new tokens each, and the tokens of the first."""
        time.sleep(REST)
        return self.ask(prompts=prompts, new=new, threads=self.threads, **others)

    def choose_threads(self, prompts: list[list[int]], new: int) -> None:
        """Keeps the number of threads that is best for some prompts, and their tokens/s as `trial`."""
        rates = {}
        for threads in self._choices:
            self.threads = threads
            self.take(prompts, 2)
            rates[threads] = len(prompts) * (len(prompts[0]) + new) / self.take(prompts, new)["seconds"]
        self.threads = max(rates, key=rates.__getitem__)
        self.trial = rates[self.threads]

    def stop(self) -> None:
        """Ends the program."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _peer(name: str, made: Made, weights: str, python: Path, *arguments: str, threads: Sequence[str]) -> Runner:
    script, folder = HERE / "peers" / f"decode_{name.split()[0]}.py", made.exports / TARGETS[name.split()[0]]
    return Runner(f"{name} {weights}", weights, [python, script, folder, *arguments], threads)


def _counts() -> list[str]:
    return [str(count) for count in sorted({1, CORES})]


def _ctranslate2(made: Made, weights: str) -> list[Runner]:
    python = python_of(CTRANSLATE2, ("ctranslate2", "numpy"))
    return [_peer("ctranslate2", made, weights, python, weights, threads=[*_counts(), f"1x{CORES}"])]


def _llamacpp(made: Made, weights: str) -> list[Runner]:
    if weights != "float32":
        return []
    python = python_of(LLAMACPP, ("xllamacpp", "numpy"))
    return [_peer("llamacpp", made, weights, python, threads=_counts())]


def _torch(made: Made, weights: str) -> list[Runner]:
    if weights != "float32":
        return []
    modes = ("eager", "compile")
    return [_peer(f"torch {mode}", made, weights, torch_python(), mode, threads=_counts()) for mode in modes]


PEERS: Mapping[str, Callable[[Made, str], list[Runner]]] = {
    "ctranslate2": _ctranslate2,
    "llamacpp": _llamacpp,
    "torch": _torch,
}
"""The runners of each peer for a type of weights."""
