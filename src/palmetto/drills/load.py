"""The share of the machine that other programs use. If it is large, a late process breaks no promise."""

import os
import time
from pathlib import Path

_BUSY = 0.25
"""The share of the processors' time used by others above which a machine counts as busy."""


class Load:
    """Measures the processors' time since its creation, except that of one process and its children."""

    def __init__(self, pid: int) -> None:
        """pid: the process that is waited for."""
        self._pid, self._start, self._busy_before = pid, time.monotonic(), _busy()

    def by_others(self) -> float:
        """Returns the share of the processors' time that other processes have used, from 0 to 1.

        If the system does not report times, it is 1 if more threads than processors want to run, and otherwise 0.
        """
        if self._busy_before is None or (busy := _busy()) is None:
            return float(os.getloadavg()[1] > (os.cpu_count() or 1))
        whole = (time.monotonic() - self._start) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, busy - self._busy_before - _taken_by(self._pid)) / whole)

    def is_heavy(self) -> bool:
        """Returns whether others have kept the machine busy."""
        return self.by_others() > _BUSY


def _busy() -> float | None:
    """Returns the busy seconds of all processors since the machine started, or None if they cannot be read."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _taken_by(pid: int) -> float:
    """Returns the processor seconds of a process and its descendants; ended ones count once they are waited for."""
    ticks = dict[int, int]()
    children = dict[int, list[int]]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # the process has just ended
            continue
        ticks[int(folder.name)] = sum(map(int, fields[11:15]))
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    tree = [pid]
    for each in tree:
        tree += children.get(each, [])
    return sum(ticks.get(each, 0) for each in tree) / os.sysconf("SC_CLK_TCK")
