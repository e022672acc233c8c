"""Keeps names of special tokens in messages from being taken for those that a template writes."""

import re
import secrets
from collections.abc import Sequence


def mark() -> str:
    """Returns what no message contains, since it is drawn anew; of digits, which no filter of templates changes."""
    return f"[{secrets.randbelow(10**40):040}]"


def one_of(names: Sequence[str]) -> str:
    """Returns a regular expression of the longest name that begins in a place.

    What names begin with alike is compared once, so that long texts are searched quickly whatever stands in them.
    """
    branches = [re.escape(first) + one_of(rests) for first, rests in _by_first(names).items()]
    whole = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{whole})?" if "" in names else whole


def _by_first(names: Sequence[str]) -> dict[str, list[str]]:
    """Returns what follows the first character of each name, by this character."""
    found: dict[str, list[str]] = {}
    for name in filter(None, names):
        found.setdefault(name[0], []).append(name[1:])
    return found


class Guard:
    """Breaks names by a mark while a template writes messages, and takes the mark out of the text afterwards.

    A name is broken wherever it begins in a message. Where a message and the text around it could make a name together,
    the mark stands between them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Takes the names, of at least two characters each."""
        assert all(len(name) > 1 for name in names), "a name can be broken"
        self._names, self._mark = names, mark()
        begins = [f"{re.escape(first)}(?={one_of(rests)})" for first, rests in _by_first(names).items()]
        self._begins = re.compile("|".join(begins))
        lengths = self._lengths = range(1, max(map(len, names), default=0))
        self._firsts = {name[:length] for name in names for length in lengths if length < len(name)}
        self._lasts = {name[length:] for name in names for length in lengths if length < len(name)}

    def put(self, message: str) -> str:
        """Returns a message in which no name stands, nor any that it makes together with the text around it."""
        if not self._names:
            return message
        broken = self._begins.sub(lambda found: found[0] + self._mark, message)
        inside = any(message in name for name in self._names)
        if inside or any(message[:length] in self._lasts for length in self._lengths):
            broken = self._mark + broken
        if inside or any(message[-length:] in self._firsts for length in self._lengths):
            broken += self._mark
        return broken

    def remove(self, text: str) -> str:
        """Returns a text without marks."""
        return text.replace(self._mark, "")
