"""A program that does a piece of work when told to, in turns with others (race.py), on one core.

It does it once at the start, prints the seconds, then reads numbers, a line each, does it so often, and prints the
seconds. Work is a function that returns seconds, so that what is no part of it does not count.
"""

import os
import sys
from collections.abc import Callable
from typing import IO


def serve(work: Callable[[], float], answers: IO[str] = sys.stdout) -> None:
    """Until the input ends."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(work(), file=answers, flush=True)
    for line in sys.stdin:
        print(sum(work() for _ in range(int(line))), file=answers, flush=True)


def quiet(log: str) -> IO[str]:
    """Whatever libraries print goes to a file from here on. Returns what standard output was."""
    answers = os.fdopen(os.dup(1), "w")
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    return answers
