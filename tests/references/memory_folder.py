"""Finds a folder in memory for the files of tests.

Checkpoints are synced to the disk, which takes a quarter of the time of whole runs, and no test needs it.
"""

import contextlib
import os
from pathlib import Path

_FOLDER = Path("/dev/shm")
_ROOM = 8 << 30
"""The bytes that must be free; the tests take a fraction of it."""
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_folder() -> Path | None:
    """Returns the folder, or None where there is none, where it is small, or where no program in it may run."""
    if not _FOLDER.is_dir():
        return None
    about = os.statvfs(_FOLDER)
    limits = [about.f_bavail * about.f_frsize]
    for file in _LIMITS:  # of a container, which counts these files
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
            limits.append(int(file.read_text()) // 2)
    return None if min(limits) < _ROOM or about.f_flag & os.ST_NOEXEC else _FOLDER
