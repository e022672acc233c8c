"""Compares the pods' digests of the state after each step, and names the pods that differ."""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple


class Report(NamedTuple):
    """A pod's digests of the state in one step."""

    before: str
    """The digest just before the update."""
    after: str
    """The digest after the update."""


class Difference(NamedTuple):
    """A step after which pods hold different states."""

    serial: int
    pods: list[int]
    """The pods at fault, or all pods if the fault cannot be located."""
    what: str
    """The fault, for a message."""


CHANGED = "the state was changed in memory"
UNLIKE = "holds another state than the others after the same update"
UNEQUAL = "hold different states after the same update"


class Digests:
    """The digests that the pods have reported, and the last one that they have agreed on."""

    def __init__(self) -> None:
        self.agreed = ""
        """The digest of the state after step `serial`."""
        self.serial = 0
        self._reports: dict[int, dict[int, Report]] = {}

    def start(self, serial: int, digest: str) -> None:
        """Begins from a state with this digest, which all pods hold."""
        self.serial, self.agreed = serial, digest
        self._reports.clear()

    def note(self, serial: int, pod: int, report: Report) -> None:
        """Records a pod's report."""
        self._reports.setdefault(serial, {})[pod] = report

    def compare(self, living: Collection[int]) -> Difference | None:
        """Compares the steps that all living pods have reported; returns the first difference, or None.

        If a pod's state just before an update is not the one that was agreed on after the last update, it was changed
        in that pod's memory. If the results of an update differ, the majority is right; without a majority, as between
        two pods, all are named.
        """
        while (reports := self._reports.get(self.serial + 1)) is not None and reports.keys() >= set(living):
            serial = self.serial + 1
            altered = [pod for pod in sorted(living) if reports[pod].before != self.agreed]
            if altered:
                return Difference(serial, altered, CHANGED)
            counts = Counter(reports[pod].after for pod in living).most_common()
            right, most = counts[0]
            if len(counts) > 1:
                if most == counts[1][1]:
                    return Difference(serial, sorted(living), UNEQUAL)
                return Difference(serial, [pod for pod in sorted(living) if reports[pod].after != right], UNLIKE)
            self.start_next(serial, right)
        return None

    def start_next(self, serial: int, digest: str) -> None:
        """Records that all pods have agreed on the state after one more step."""
        del self._reports[serial]
        self.serial, self.agreed = serial, digest
