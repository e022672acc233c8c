"""Errors that the user can correct. Each is reported in one line, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message names the file, key or value, what was expected and a valid alternative. Exit code 2."""


class RunStopped(UserError):
    """Something that ran and did not succeed: a run whose data ran out, a program that does not fit. Exit code 1."""


_LONGEST = 100
"""The most characters of a name that are compared with others, which takes time and memory for each."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Returns `` (did you mean 'x'?)`` for the candidate closest to `name`, or an empty string if none is close."""
    close = difflib.get_close_matches(name[:_LONGEST], list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
