"""Whether all pods hold the same state after each step, and which does not."""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple


class Report(NamedTuple):
    """A pod's digests of one step."""

    before: str
    """Of the state, just before it was updated."""
    after: str


class Difference(NamedTuple):
    """A step after which pods do not hold the state that they should."""

    serial: int
    pods: list[int]
    """Those at fault; all, where there is no telling."""
    what: str


CHANGED = "the state was changed in memory"
UNLIKE = "holds another state than the others after the same update"
UNEQUAL = "hold different states after the same update"


class Digests:
    """What the pods have reported and what they have agreed on."""

    def __init__(self) -> None:
        self.agreed = ""
        """The digest of the state after step `serial`."""
        self.serial = 0
        self._reports: dict[int, dict[int, Report]] = {}

    def start(self, serial: int, digest: str) -> None:
        """All hold a state of this digest."""
        self.serial, self.agreed = serial, digest
        self._reports.clear()

    def note(self, serial: int, pod: int, report: Report) -> None:
        """A pod has reported."""
        self._reports.setdefault(serial, {})[pod] = report

    def compare(self, living: Collection[int]) -> Difference | None:
        """Goes through the steps of which all living pods have reported; the first difference that there is.

        A pod whose state was not, right before an update, what all had agreed on after the one before has had it
        changed in its memory, and is known to be at fault. If updates themselves differ the majority is right; where
        there is none, as between two, all are named.
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
        """All have agreed on the state after one more step."""
        del self._reports[serial]
        self.serial, self.agreed = serial, digest
