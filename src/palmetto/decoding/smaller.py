"""Guesses tokens by a smaller model, in an engine of its own."""

from collections.abc import Sequence as Several

import numpy as np

from palmetto.decoding.drafts import Ids
from palmetto.decoding.engine import Engine
from palmetto.decoding.request import Request
from palmetto.decoding.runner import Program
from palmetto.decoding.sequences import Sequence


class SmallerModel:
    """Guesses what a smaller model draws, with the key of the request itself (arXiv 2211.17192)."""

    def __init__(self, engine: Engine) -> None:
        """Takes an engine of the smaller model, which has the same vocabulary; nobody else may use it."""
        self._engine = engine

    def programs(self) -> list[Program]:
        """Returns calls that compile the smaller model's steps."""
        return self._engine.programs()

    def propose(self, sequences: Several[Sequence], count: int) -> list[Ids]:
        numbers = {}
        for sequence in sequences:
            room = self._engine.longest + 1 - sequence.size
            if room > 0:
                prompt = tuple(sequence.tokens[: sequence.size].tolist())
                sampling = sequence.request.sampling
                sampling = sampling._replace(forced=sampling.forced[sequence.size - sequence.prompt :])
                request = Request(prompt, min(count, room), sampling, sequence.request.seed)
                numbers[self._engine.submit(request, sequence.choice)] = sequence
        guesses: dict[Sequence, list[int]] = {sequence: [] for sequence in sequences}
        while self._engine.busy:
            for event in self._engine.step():
                guesses[numbers[event.request]] += [token.id for token in event.tokens]
        return [np.array(guesses[sequence], np.int32) for sequence in sequences]
