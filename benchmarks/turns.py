"""Does a piece of work on request, on one core, in turns with other programs (race.py).

It does the work once and prints the seconds. Then it reads numbers, one a line, repeats the work so many times, and
prints the seconds. Work is a function that returns its own seconds, so that preparations do not count.
"""

import os
import sys
from collections.abc import Callable
from typing import IO


def serve(work: Callable[[], float], answers: IO[str] = sys.stdout) -> None:
    """Does the work on request until the input ends."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(work(), file=answers, flush=True)
    for line in sys.stdin:
        print(sum(work() for _ in range(int(line))), file=answers, flush=True)


def quiet(log: str) -> IO[str]:
    """Redirects all output of libraries to a file, and returns the former standard output."""
    answers = os.fdopen(os.dup(1), "w")
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    return answers
