"""Searches with beams: it decides which of the sequences of a request go on, and with which tokens.

All beams of a request wait for each other at every token. They share the blocks of what they have in common.
"""

from typing import NamedTuple

from palmetto.decoding.request import Finish, Token
from palmetto.decoding.scheduling import Scheduler
from palmetto.decoding.sequences import Sequence


class Hypothesis(NamedTuple):
    """Holds a beam's generated tokens."""

    tokens: tuple[Token, ...]
    total: float
    """The sum of their log-probabilities."""

    def score(self, penalty: float) -> float:
        """Returns the total divided by GNMT's length penalty ((5 + length) / 6)^α (arXiv 1609.08144, equation 14)."""
        return self.total / length_penalty(len(self.tokens), penalty)

    def followed_by(self, token: Token) -> "Hypothesis":
        """Returns the hypothesis with a token more."""
        assert token.logprob is not None
        return Hypothesis((*self.tokens, token), self.total + token.logprob)


def length_penalty(length: int, penalty: float) -> float:
    """Returns ((5 + length) / 6)^α for a number of generated tokens."""
    return float(((5 + length) / 6) ** penalty)


class Beams:
    """Holds the search of one request."""

    def __init__(self, first: Sequence, scheduler: Scheduler) -> None:
        """Begins with one sequence, that of the prompt."""
        self._request, self._scheduler = first.request, scheduler
        self._most = first.most - first.prompt
        self.live = {first: Hypothesis((), 0.0)}
        """The beams that go on."""
        self._candidates: dict[Sequence, list[Token]] = {}
        self._ended: list[tuple[Hypothesis, Finish]] = []

    def take(self, sequence: Sequence, candidates: list[Token]) -> list[tuple[Hypothesis, Finish]] | None:
        """Takes the most probable tokens that follow a beam; returns the best hypotheses if the search is over.

        The beam then waits until the candidates of all beams are there.
        """
        self._candidates[sequence] = candidates
        sequence.held = True
        if len(self._candidates) < len(self.live):
            return None
        going_on = self._choose()
        self._candidates = {}
        if not going_on or self._is_over(going_on):
            self.stop()
            return self._best()
        self._continue(going_on)
        return None

    def stop(self) -> None:
        """Takes all beams from the scheduler."""
        for sequence in self.live:
            self._scheduler.remove(sequence)
        self.live = {}

    def _choose(self) -> list[tuple[Sequence, Hypothesis]]:
        """Returns the best hypotheses that go on, each with the beam that it continues; ended ones are kept apart."""
        followers = [
            (parent, self.live[parent].followed_by(token))
            for parent, tokens in sorted(self._candidates.items(), key=lambda item: item[0].choice)
            for token in tokens
        ]
        followers.sort(key=lambda pair: -pair[1].total)
        going_on: list[tuple[Sequence, Hypothesis]] = []
        for parent, hypothesis in followers:
            if self._has_ended(hypothesis):
                self._ended.append((hypothesis, Finish.STOP))
            elif len(hypothesis.tokens) == self._most:
                self._ended.append((hypothesis, Finish.LENGTH))
            elif len(going_on) < self._request.beams:
                going_on.append((parent, hypothesis))
        return going_on

    def _has_ended(self, hypothesis: Hypothesis) -> bool:
        ids, ended = [token.id for token in hypothesis.tokens], self._request.ended
        return ids[-1] in self._request.stop or (ended is not None and ended(ids))

    def _best(self) -> list[tuple[Hypothesis, Finish]]:
        self._ended.sort(key=lambda pair: -pair[0].score(self._request.length_penalty))
        del self._ended[self._request.beams :]
        return self._ended[: self._request.choices]

    def _is_over(self, going_on: list[tuple[Sequence, Hypothesis]]) -> bool:
        """Returns whether no hypothesis can become better than the answers so far: totals only fall."""
        best = self._best()
        if len(best) < self._request.choices:
            return False
        penalty, total = self._request.length_penalty, max(hypothesis.total for _, hypothesis in going_on)
        lengths = len(going_on[0][1].tokens) + 1, self._most
        reachable = max(total / length_penalty(length, penalty) for length in lengths)
        return best[-1][0].score(penalty) >= reachable

    def _continue(self, going_on: list[tuple[Sequence, Hypothesis]]) -> None:
        """Lets each hypothesis be a beam: the first of a parent goes on in its place, the others share its blocks."""
        parents = {parent for parent, _ in going_on}
        for sequence in self.live.keys() - parents:
            self._scheduler.remove(sequence)
        numbers = {parent.choice for parent in parents}
        free = iter(sorted(set(range(self._request.beams)) - numbers))
        self.live, forked = {}, []
        for parent, hypothesis in going_on:
            if parent in self.live:
                forked.append((parent.forked(next(free)), parent, hypothesis))
            else:
                self.live[parent] = hypothesis
        for child, parent, hypothesis in forked:
            self.live[child] = hypothesis
            if not self._scheduler.fork(parent, child):
                child.done = 0
                self._scheduler.add(child)
        for sequence, hypothesis in self.live.items():
            sequence.held = False
            sequence.tokens[sequence.size] = hypothesis.tokens[-1].id
            sequence.size += 1
