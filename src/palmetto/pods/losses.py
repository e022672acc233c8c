"""Decides which of two pods that cannot reach each other is ended, and when a pod is given up."""

from collections import defaultdict

from palmetto.pods.process import PodProcess

ATTEMPTS = 3
"""The number of processes of a pod that may be lost in a row before the pod is given up."""

_SETTLED = 10
"""The number of steps after which the loss of a process does not count with earlier losses of its pod."""


class Losses:
    """Remembers lost processes and broken links."""

    def __init__(self, pods: int) -> None:
        self._attempts = dict.fromkeys(range(pods), 0)
        self._broken: dict[int, set[int]] = defaultdict(set)
        """Maps each process, by its life, to the living processes that it has lost its link to."""

    def note_step(self, pod: PodProcess) -> None:
        """Counts a step that a process has taken part in."""
        pod.steps += 1
        if pod.steps == _SETTLED:
            self._attempts[pod.number] = 0

    def may_restart(self, pod: PodProcess) -> bool:
        """Counts the loss of a process, and returns whether its pod may start another."""
        self._attempts[pod.number] += 1
        return self._attempts[pod.number] < ATTEMPTS

    def choose(self, reporter: PodProcess, other: PodProcess) -> tuple[PodProcess, PodProcess]:
        """Returns which of two processes stays and which is ended, given that `reporter` cannot reach `other`.

        A process that is ending by itself is ended. Otherwise it is one that has not joined yet, or else the one that
        has lost more links to living processes, or else `other`.
        """
        if other.ends_by_itself():
            return reporter, other
        self._broken[reporter.life].add(other.life)
        self._broken[other.life].add(reporter.life)
        return (other, reporter) if self._rank(reporter) < self._rank(other) else (reporter, other)

    def _rank(self, pod: PodProcess) -> tuple[bool, int]:
        return pod.stage == "living", -len(self._broken[pod.life])
