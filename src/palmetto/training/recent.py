"""The last values of a series, and whether another lies far above them by robust standard deviations."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

_NORMAL = 1.4826
"""The standard deviation of a normal distribution in units of its median absolute deviation."""

_SLACK = 1 + 1e-9
"""More than roundings can amount to in what decides without the exact spread."""


class Recent:
    """The last `size` values, in the order they came and sorted."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values = deque[float]()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """Takes a finite value; the oldest goes where there would be more than `size`."""
        self._values.append(value)
        insort(self._sorted, value)
        if len(self._values) > self._size:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]

    def is_far_below(self, value: float, threshold: float) -> bool:
        """Returns whether `value` is above their median by more than `threshold` times their spread: 1.4826 · the
        median absolute deviation, at least a thousandth of the median.

        There must be values. Most are decided by counting, which is a hundred times quicker than the exact spread.
        """
        middle = _median(self._sorted)
        if value <= middle:
            return False
        near = (value - middle) / threshold / _NORMAL * _SLACK
        first, last = bisect_left(self._sorted, middle - near), bisect_left(self._sorted, middle + near)
        if 2 * (last - first) < len(self._sorted):  # fewer than half are nearer, so that the spread is larger
            return False
        spread = _NORMAL * _median(sorted(abs(each - middle) for each in self._sorted))
        return (value - middle) / max(spread, 1e-3 * abs(middle), 1e-12) > threshold


def _median(ordered: Sequence[float]) -> float:
    half, odd = divmod(len(ordered), 2)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2
