"""Errors that are the user's to mend: one line each, never a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message names the file, key or value, what was expected and what would do; exit code 2."""


class RunStopped(UserError):
    """The run itself ended with a "no" (spikes that return, data that ran out); exit code 1."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Returns `` (did you mean 'x'?)`` for the candidate closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
