"""Finds the first sentence of a text."""

import re

SENTENCE = re.compile(r".*?[.!?](?=\s|$)", re.DOTALL)
"""A text up to the end of its first sentence."""


def first(text: str) -> str:
    """Returns a text up to the end of its first sentence, or all of it."""
    found = SENTENCE.match(text.strip())
    return found[0] if found else text.strip()
