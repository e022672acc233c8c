"""The stage that masks personal data: mail addresses, telephone numbers, IP addresses, keys and other secrets.

It is careful not to mask what only looks alike, since a masked text is a changed one: dates, ISBNs, versions, numbers
in tables, private and loopback addresses stay. Every expression takes time in proportion to the text, whatever it is: a
run is tried at its start alone, and what repeats is bounded or cannot overlap with what follows.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus import tables
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View
from palmetto.recipe.corpus import Build

_VERSION = 1
MASKED = pa.map_(pa.string(), pa.int32())
"""How often each kind was masked."""


class Kind(NamedTuple):
    """A kind of personal data. What group 1 of the expression matches is masked, or all where it has none."""

    name: str
    hint: str
    """An expression of RE2 that a text without any cannot match; it is much faster."""
    expression: re.Pattern[str]
    check: Callable[[re.Match[str]], bool]
    in_code: bool = True
    """Whether it is looked for in code."""


def _always(match: re.Match[str]) -> bool:
    return True


_MAIL = re.compile(
    r"""(?<![\w.+%-]) (?!git@) \w[\w.+%-]{0,63}
        @ (?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}
        (?:[a-z]{2}|com|org|net|edu|gov|mil|int|info|biz|name|dev|app|online|cloud|email|COM|ORG|NET|EDU)
        (?![A-Za-z0-9_-])""",
    re.ASCII | re.VERBOSE,
)

_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\w)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w.:])[23][0-9a-fA-F]{3}:[0-9a-fA-F:]{2,34}(?![\w:])", re.ASCII)
_NUMBER_OF = re.compile(r"(?:versions?|ver\.?|v\.|release|revision|build|section|chapter|§)\W{0,3}$", re.IGNORECASE)


def _is_public(match: re.Match[str]) -> bool:
    """Addresses that belong to someone; of four numbers of a digit each, a version is likelier."""
    text = match[0]
    if "." in text and (len(text) == 7 or _NUMBER_OF.search(match.string[max(0, match.start() - 12) : match.start()])):
        return False
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


# With the country's code; in brackets or with an area's code as North America writes it; as Korea and Japan do; or
# behind a word that says what it is.
_PHONE = re.compile(
    r"""(?<![\w+.,/-]) \+[1-9]\d{0,2} (?:[ .-]?(?:\(\d{1,4}\)|\d{1,12})){1,6} (?![\w]|[ .,-]?\d)
      | (?<![\w+.-]) (?:\+?1[ .-])? \([2-9]\d\d\)[ ]?[2-9]\d\d[-. ]\d{4} (?![\w-])
      | (?<![\w+.-]) (?:1[-.])? [2-9]\d\d([-.])[2-9]\d\d\1\d{4} (?![\w-]|\.\d)
      | (?<![\w+.-]) 0\d{1,2}-\d{3,4}-\d{4} (?![\w-])
      | (?:(?<![^\W\d_])(?:tel|phone|telephone|mobile|fax|telefon|téléphone|teléfono|telefone|telefono|тел|телефон)
         |전화|電話|电话)
        (?:번호|番号|号码)? [.]?[ ]{0,2}[:：]?[ ]{0,2} (?P<labelled>\+?(?:\d|\(\d)[\d ().-]{5,18}\d) (?!\d)""",
    re.ASCII | re.VERBOSE | re.IGNORECASE,
)


def _is_phone(match: re.Match[str]) -> bool:
    digits = sum(character.isdigit() for character in match["labelled"] or match[0])
    return (7 if match["labelled"] else 9) <= digits <= 15


_KEY = re.compile(
    r"""-----BEGIN\ [A-Z\ ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----
        [^-]*(?:-(?!----)[^-]*)*
        -----END\ [A-Z\ ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----
      | (?<![A-Za-z0-9]) (?:AKIA|ASIA)[A-Z0-9]{16} (?![A-Za-z0-9])
      | (?<![A-Za-z0-9_]) (?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})
      | (?<![A-Za-z0-9-]) xox[abeoprs]-[A-Za-z0-9-]{10,255}
      | (?<![A-Za-z0-9_-]) AIza[A-Za-z0-9_-]{35} (?![A-Za-z0-9_-])
      | (?<![A-Za-z0-9_]) [rs]k_(?:live|test)_[A-Za-z0-9]{16,255}
      | (?<![A-Za-z0-9_-]) eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,4096}""",
    re.ASCII | re.VERBOSE,
)
_SECRET = re.compile(
    r"""(?:secret|token|passwo?r?d|api[_-]?key|access[_-]?key|auth[_-]?key|private[_-]?key) [A-Za-z0-9_]{0,20}
        ["']? [ ]{0,3} (?:=>|:=|[:=]) [ ]{0,3} ["']? (?P<value>[A-Za-z0-9+/_=-]{16,256}) (?![A-Za-z0-9+/_=.(\[-])""",
    re.ASCII | re.VERBOSE | re.IGNORECASE,
)


def _is_random(match: re.Match[str]) -> bool:
    """Letters and digits, as evenly mixed as in what a machine has drawn: 3.5 bits a character and more."""
    value = match["value"]
    if value.isalpha() or value.isdigit():
        return False
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
    return bits >= 3.5 and any(map(str.isdigit, value)) and any(map(str.isalpha, value))


KINDS = (
    Kind("key", r"PRIVATE KEY-|AKIA|ASIA|gh[pousr]_|github_pat_|xox[a-z]-|AIza|[rs]k_(live|test)_|eyJ", _KEY, _always),
    Kind("secret", r"(?i)secret|token|passw|key", _SECRET, _is_random),
    Kind("email", r"[0-9A-Za-z_]@[0-9A-Za-z]", _MAIL, _always),
    Kind("ip", r"\d\.\d{1,3}\.\d{1,3}\.\d", _IPV4, _is_public),
    Kind("ip", r"[23][0-9a-fA-F]{3}:[0-9a-fA-F:]", _IPV6, _is_public),
    Kind("phone", r"\d[-. )]{1,2}\d{3,4}|\+\d", _PHONE, _is_phone, in_code=False),
)
"""In the order of precedence, where they overlap."""


@dataclass(frozen=True)
class PersonalData:
    """Puts <EMAIL>, <PHONE>, <IP>, <KEY> and <SECRET> where such were. kinds: of each source; in code, whose numbers
    mean other things, no telephones are looked for."""

    kinds: dict[str, str]
    name: str = field(default="personal data", init=False)

    @classmethod
    def of(cls, build: Build) -> "PersonalData":
        """As a recipe has it."""
        return cls({name: source.kind for name, source in build.sources.items()})

    @property
    def identity(self) -> dict[str, Any]:
        """See `Stage`."""
        return {"version": _VERSION, "kinds": self.kinds}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Nothing: each document is looked at by itself."""

    def note(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """`edits`, and `masked`: how often each kind was. Nothing is dropped."""
        texts = documents["text"].combine_chunks()
        hints = [pc.match_substring_regex(texts, kind.hint).to_numpy(zero_copy_only=False) for kind in KINDS]
        sources = documents["source"].to_pylist()
        edits: list[list[dict[str, Any]] | None] = [None] * len(documents)
        masked: list[list[tuple[str, int]] | None] = [None] * len(documents)
        for row in np.flatnonzero(np.any(hints, axis=0)) if len(documents) else ():
            code = self.kinds.get(sources[row]) == "code"
            kinds = [kind for kind, hint in zip(KINDS, hints, strict=True) if hint[row] and (kind.in_code or not code)]
            found = sorted(find(texts[row].as_py(), kinds))
            if found:
                edits[row] = [{"start": start, "end": end, "text": f"<{kind.upper()}>"} for start, end, kind in found]
                masked[row] = sorted(Counter(kind for _, _, kind in found).items())
        return pa.table(
            {
                "dropped": pa.nulls(len(documents), pa.string()),
                "edits": pa.array(edits, tables.EDITS),
                "masked": pa.array(masked, MASKED),
            }
        )


def find(text: str, kinds: list[Kind] | tuple[Kind, ...] = KINDS) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of personal data, apart from each other, in no order."""
    taken: list[tuple[int, int]] = []
    for kind in kinds:
        group = next((name for name in ("labelled", "value") if name in kind.expression.groupindex), None)
        new = []
        for match in kind.expression.finditer(text):
            if kind.check(match):
                whole = group is None or match[group] is None
                new.append(match.span() if whole else match.span(group or 0))
        for start, end in new:
            if not _overlaps(taken, start, end):
                yield start, end, kind.name
        taken = sorted([*taken, *new])


def _overlaps(taken: list[tuple[int, int]], start: int, end: int) -> bool:
    """Whether a span meets one of those that are sorted and apart from each other."""
    import bisect

    after = bisect.bisect_left(taken, (end, 0))
    return after > 0 and taken[after - 1][1] > start
