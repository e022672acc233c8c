"""A kind of personal data: its name, and where a text has any."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

Spans = Iterator[tuple[int, int]]
"""Starts and ends, in characters, apart from each other."""


class Kind(NamedTuple):
    """A kind of personal data."""

    name: str
    hint: str
    """An expression of RE2 that a text without any does not match; it is much faster."""
    spans: Callable[[str], Spans]
    """Finds the spans of a text that are to be masked."""
    in_code: bool = True
    """True where it is looked for in code, too."""


def matching(
    expression: re.Pattern[str], check: Callable[[re.Match[str]], bool] | None = None, group: str | None = None
) -> Callable[[str], Spans]:
    """Returns a function that finds what matches an expression, or a group of it, and passes a check."""

    def spans(text: str) -> Spans:
        for match in expression.finditer(text):
            if check is None or check(match):
                yield match.span(group or 0)

    return spans
