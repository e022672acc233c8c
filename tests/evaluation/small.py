"""Holds what small evaluations ask, and an engine that can be stopped."""

from collections.abc import Sequence

from palmetto.decoding.request import Request, Result
from palmetto.evaluation.model import EvaluatedModel
from palmetto.evaluation.settings import Settings

NAMES = ("copa", "nq_open")
SETTINGS = Settings(shots=1, seed=0, limit=None)
PREMISES = ("the text", "a line of text", "def wrap", "the paragraph", "white space")

PROGRAM = {
    "task_id": "HumanEval/0",
    "prompt": 'def wrap(text):\n    """Return text."""\n',
    "canonical_solution": "    return text\n",
    "test": "def check(candidate):\n    assert candidate('x') == 'x'\n",
    "entry_point": "wrap",
}


class Counting:
    """Hands requests to the engine, one at a time or all at once, and stops after a number of calls."""

    def __init__(self, model: EvaluatedModel, alone: bool = False, calls: int = 99) -> None:
        self.model, self.alone, self.calls, self.requests = model, alone, calls, 0

    def run(self, requests: Sequence[Request]) -> list[list[Result]]:
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        self.requests += len(requests)
        if self.alone:
            return [result for request in requests for result in self.model.engine.run([request])]
        return self.model.engine.run(requests)
