"""The last values of a series, and a robust test of whether another value lies far above them."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

_NORMAL = 1.4826
"""The standard deviation of a normal distribution in units of its median absolute deviation."""

_SLACK = 1 + 1e-9
"""A margin greater than rounding errors, for the test that does without the exact spread."""


class Recent:
    """Holds the last `size` values, both in order of arrival and sorted."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values = deque[float]()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """Adds a finite value, and drops the oldest one if there are more than `size`."""
        self._values.append(value)
        insort(self._sorted, value)
        if len(self._values) > self._size:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]

    def is_far_below(self, value: float, threshold: float) -> bool:
        """Returns whether `value` exceeds the median of the values by more than `threshold` times their spread.

        The spread is 1.4826 times the median absolute deviation, and at least a thousandth of the median. There must be
        values. Most cases are decided by counting, which is much faster than computing the exact spread.
        """
        middle = _median(self._sorted)
        if value <= middle:
            return False
        near = (value - middle) / threshold / _NORMAL * _SLACK
        first, last = bisect_left(self._sorted, middle - near), bisect_left(self._sorted, middle + near)
        if 2 * (last - first) < len(self._sorted):  # fewer than half are nearer, so the spread is larger
            return False
        spread = _NORMAL * _median(sorted(abs(each - middle) for each in self._sorted))
        return (value - middle) / max(spread, 1e-3 * abs(middle), 1e-12) > threshold


def _median(ordered: Sequence[float]) -> float:
    half, odd = divmod(len(ordered), 2)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2
