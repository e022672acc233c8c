"""Defines what a kind of personal data is: its name, and a function that finds it."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

Spans = Iterator[tuple[int, int]]
"""Starts and ends in characters, not overlapping."""


class Kind(NamedTuple):
    """A kind of personal data."""

    name: str
    hint: str
    """An RE2 expression that matches every text with this kind of data; it is much faster than `spans`."""
    spans: Callable[[str], Spans]
    """Finds the spans of a text that are to be masked."""
    in_code: bool = True
    """True if code is searched too."""


def matching(
    expression: re.Pattern[str], check: Callable[[re.Match[str]], bool] | None = None, group: str | None = None
) -> Callable[[str], Spans]:
    """Returns a function that yields the spans of an expression, or of a group in it, whose match passes the check."""

    def spans(text: str) -> Spans:
        for match in expression.finditer(text):
            if check is None or check(match):
                yield match.span(group or 0)

    return spans
