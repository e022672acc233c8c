"""Licences of code: what a licence file and a file's own header say, and which ask for the same licence of what is
built from them (copyleft). Expressions are SPDX's (spdx.github.io/spdx-spec, annex D)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa

from palmetto.corpus import code_languages
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View

DROPPED = "copyleft licence"
_COPYLEFT = re.compile(
    r"^(A?GPL|LGPL|MPL|EPL|EUPL|CDDL|CPL|IPL|OSL|MS-RL|CECILL(-[12]|$)|CC-BY(-NC)?-SA|SISSL|RPL|QPL|SPL|APSL|SSPL"
    r"|BUSL|CPAL|RECIPROCAL|SLEEPYCAT|ODBL|GFDL|NPL|COPYLEFT-NEXT|LICENSEREF-COPYLEFT)",
    re.IGNORECASE,
)
"""Strong and weak copyleft alike, and two that restrict use besides (SSPL, BUSL)."""
_DEPTH = 50
"""Brackets beyond which nothing but names is read: an expression may be anything, and the parser recurses."""
_WORD = re.compile(r"\(|\)|[^\s()]+")
_T = TypeVar("_T")

_FILE = re.compile(r"^(un)?licen[cs]e|^copying", re.IGNORECASE)
_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]+)")
_HEADER_CHARACTERS = 4096
_NOTICE = re.compile(
    r"under the terms of (?:the )?(?:version [\d.]+ of )?the GNU (Lesser |Library |Affero )?General Public License"
)
_NOTICES = {None: "GPL", "Lesser ": "LGPL", "Library ": "LGPL", "Affero ": "AGPL"}

_PHRASES: tuple[tuple[str, str], ...] = (
    # The longer of two that share a phrase first. Phrases are letters and digits with single spaces.
    ("AGPL-3.0", "gnu affero general public license version 3"),
    ("LGPL-3.0", "gnu lesser general public license version 3"),
    ("LGPL-2.1", "gnu lesser general public license version 2 1"),
    ("LGPL-2.0", "gnu library general public license version 2"),
    ("GPL-3.0", "gnu general public license version 3"),
    ("GPL-2.0", "gnu general public license version 2"),
    ("GPL-1.0", "gnu general public license version 1"),
    ("AGPL", "gnu affero general public license"),
    ("LGPL", "gnu lesser general public license"),
    ("LGPL", "gnu library general public license"),
    ("GPL", "gnu general public license"),
    ("GFDL", "gnu free documentation license"),
    ("MPL-2.0", "mozilla public license version 2 0"),
    ("MPL-2.0", "mozilla public license v 2 0"),
    ("MPL-1.1", "mozilla public license version 1 1"),
    ("EPL-2.0", "eclipse public license v 2 0"),
    ("EPL-1.0", "eclipse public license v 1 0"),
    ("EUPL-1.2", "european union public licence v 1 2"),
    ("EUPL", "european union public licence"),
    ("CDDL-1.0", "common development and distribution license"),
    ("CECILL-2.1", "cecill free software license agreement"),
    ("OSL-3.0", "open software license v 3 0"),
    ("SSPL-1.0", "server side public license"),
    ("BUSL-1.1", "business source license 1 1"),
    ("CC-BY-SA-4.0", "attribution sharealike 4 0 international"),
    ("Apache-2.0", "apache license version 2 0"),
    ("BSL-1.0", "boost software license version 1 0"),
    ("Unlicense", "this is free and unencumbered software released into the public domain"),
    ("CC0-1.0", "cc0 1 0 universal"),
    ("CC-BY-4.0", "attribution 4 0 international"),
    ("0BSD", "permission to use copy modify and or distribute this software for any purpose with or without fee is "
             "hereby granted the software is provided"),
    ("ISC", "permission to use copy modify and or distribute this software for any purpose with or without fee is "
            "hereby granted provided that the above copyright notice"),
    ("ISC", "permission to use copy modify and distribute this software for any purpose with or without fee is hereby "
            "granted provided that the above copyright notice"),
    ("Zlib", "altered source versions must be plainly marked as such and must not be misrepresented"),
    ("BSD-3-Clause", "redistributions of source code must retain the above copyright notice"),
    ("MIT", "permission is hereby granted free of charge to any person obtaining a copy of this software"),
    ("WTFPL", "do what the fuck you want to public license"),
    ("PSF-2.0", "python software foundation license version 2"),
)  # fmt: skip
_ENDORSE = re.compile(
    r"neither the names? of|may not be used to endorse or promote|names? of .{0,80}not be used to endorse"
)


def is_licence_file(name: str) -> bool:
    """Whether a file is a licence by its name: LICENSE, LICENCE.md, LICENSE-MIT, COPYING, UNLICENSE, not license.py."""
    return bool(_FILE.match(name)) and code_languages.language(name) is None


def recognized(text: str) -> str | None:
    """The SPDX expression of a licence file's text by phrases that each licence alone has; None if none is found.

    All that are found at the beginnings of their own sections hold together: "MIT AND Apache-2.0".
    """
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
    places: dict[str, int] = {}
    for name, phrase in _PHRASES:
        found = words.find(phrase)
        # A licence names others within (the GPL the LGPL, MPL its "secondary licences"); its own name comes first.
        if found >= 0 and name.split("-")[0] not in {other.split("-")[0] for other in places}:
            places[name] = found
    if not places:
        return None
    first = min(places, key=lambda name: places[name])
    if copyleft(first):
        return first
    if first == "BSD-3-Clause" and not _ENDORSE.search(words):
        first = "BSD-2-Clause"
    # Permissive licences name no other but where another follows (a library included); then all hold.
    # A version must be named: that it is "compatible with the GNU General Public License" makes no licence another.
    others = [name for name in places if "-" in name and copyleft(name)]
    return " AND ".join([first, *sorted(others)])


def header(text: str) -> str | None:
    """What a file of code says of itself, within its first 4096 characters: `SPDX-License-Identifier`, or the notice
    that the GNU licences ask for."""
    beginning = text[:_HEADER_CHARACTERS]
    if found := _HEADER.search(beginning):
        return found.group(1).split("*/")[0].split("-->")[0].strip().rstrip("\"'").strip() or None
    if found := _NOTICE.search(" ".join(re.sub(r"^[\s*#/;%-]+", "", line) for line in beginning.split("\n"))):
        return _NOTICES[found.group(1)]
    return None


def copyleft(expression: str) -> bool:
    """Whether an expression leaves no choice but copyleft: of OR one permissive branch is enough, of AND each counts.

    AND binds stronger than OR; an exception (WITH) makes no copyleft licence permissive. A licence not known as
    copyleft is none; names are compared in any case. What is no expression is read as names that all hold.
    """
    words = _WORD.findall(expression.replace("/", " OR "))
    if words.count("(") > _DEPTH:
        return any(_COPYLEFT.match(word) for word in words)
    result, rest = _either(words)
    while rest:
        more, rest = _either(rest[1:] if rest[0] == ")" else rest)
        result = result or more
    return result


def _either(words: list[str]) -> tuple[bool, list[str]]:
    result, rest = _all(words)
    while rest and rest[0].upper() == "OR":
        other, rest = _all(rest[1:])
        result = result and other
    return result, rest


def _all(words: list[str]) -> tuple[bool, list[str]]:
    result, rest = _one(words)
    while rest and rest[0] != ")" and rest[0].upper() != "OR":
        other, rest = _one(rest[1:] if rest[0].upper() == "AND" else rest)
        result = result or other
    return result, rest


def _one(words: list[str]) -> tuple[bool, list[str]]:
    if not words:
        return False, []
    first, rest = words[0], words[1:]
    if first == "(":
        result, rest = _either(rest)
        rest = rest[1:]
    else:
        result = bool(_COPYLEFT.match(first))
    return result, rest[2:] if rest and rest[0].upper() == "WITH" else rest


def names(expression: str) -> set[str]:
    """The licences of an expression, without version, in capitals: {"GPL", "MIT"} of "MIT OR GPL-2.0-only"."""
    words = [
        word for word in _WORD.findall(expression) if word not in "()" and word.upper() not in ("AND", "OR", "WITH")
    ]
    return {word.split("-")[0].upper() for word in words}


def combined(stated: str | None, filed: str | None) -> str | None:
    """What a record states of its repository and what the repository's licence file says: the statement, unless the
    file is a copyleft licence that the statement does not know of; then both."""
    if not stated or stated.upper() in ("NOASSERTION", "NONE", "UNKNOWN", "OTHER"):
        return filed
    if filed and copyleft(filed) and not copyleft(stated) and not names(filed) <= names(stated):
        return f"({stated}) AND ({filed})"
    return stated


def joined(expressions: list[str]) -> str | None:
    """Of licence files side by side: they do not say whether one may choose, so all hold."""
    unique = sorted(set(expressions))
    return (
        " AND ".join(f"({each})" if " " in each else each for each in unique)
        if len(unique) > 1
        else "".join(unique) or None
    )


def nearest(folders: Mapping[str, _T], path: str) -> _T | None:
    """What belongs to the folder that a file lies in, or to the nearest one above it ("." is the topmost)."""
    for folder in PurePosixPath(path).parents:
        if (found := folders.get(folder.as_posix())) is not None:
            return found
    return None


@dataclass(frozen=True)
class Licences:
    """The stage that keeps copyleft code out. Notes `licence`: a file's own header, if it has none its repository's.

    code: the sources of code. Code that says nothing of its licence stays, as in PaLM, with a null.
    """

    code: tuple[str, ...]
    drop: bool = True

    name = "licences"

    @property
    def identity(self) -> dict[str, Any]:
        return {"version": 1, "code": sorted(self.code), "drop": self.drop}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Nothing: licence files have been read with the code."""

    def note(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """`dropped` and `licence`, a row a document."""
        licences = documents["licence"].to_pylist()
        dropped: list[str | None] = [None] * len(licences)
        for row, source in enumerate(documents["source"].to_pylist()):
            if source in self.code:
                licences[row] = header(documents["text"][row].as_py()) or licences[row]
                if self.drop and licences[row] is not None and copyleft(licences[row]):
                    dropped[row] = DROPPED
        return pa.table({"dropped": pa.array(dropped, pa.string()), "licence": pa.array(licences, pa.string())})
