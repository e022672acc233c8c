"""Reads lists of files and their licences: debian/copyright (DEP 5), .reuse/dep5 and REUSE.toml."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

from palmetto.corpus.rules.licences import texts

Patterns = tuple[tuple[re.Pattern[str], str], ...]
"""Expressions that match whole paths, and their licences; the last that matches counts."""

_FIELD = re.compile(r"^(?P<name>[\w-]+):[ \t]*(?P<value>.*(?:\n[ \t].*)*)", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_COMMA = re.compile(r",\s*and\b", re.IGNORECASE)


def read(name: str, text: str) -> Patterns:
    """Returns what a list states; a file in no such form applies to everything, if its text is recognized."""
    rows = tuple(_reuse(text) if name == "REUSE.toml" else _debian(text))
    if not rows and name != "REUSE.toml" and (found := texts.recognized(text)):
        return ((re.compile(".*", re.DOTALL), found),)
    return rows


def _compiled(globs: Iterable[str], star: str) -> re.Pattern[str]:
    """Returns the expression of globs in which one star matches `star` and two match anything."""
    parts = (re.escape(each).replace(r"\*\*", ".*").replace(r"\*", star).replace(r"\?", ".") for each in globs)
    return re.compile("|".join(f"(?:{part})" for part in parts), re.DOTALL)


def _debian(text: str) -> Iterator[tuple[re.Pattern[str], str]]:
    for paragraph in _PARAGRAPH.split(text.replace("\r\n", "\n")):
        fields = {found["name"].lower(): found["value"] for found in _FIELD.finditer(paragraph)}
        # The first line is the short name; the rest is the text.
        licence = _COMMA.sub(" and", fields.get("license", "").split("\n")[0].strip())
        if "files" in fields and licence:
            yield _compiled(fields["files"].split(), ".*"), licence


def _reuse(text: str) -> Iterator[tuple[re.Pattern[str], str]]:
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    annotations = values.get("annotations", ())
    for each in annotations if isinstance(annotations, list) else ():
        paths, licence = each.get("path", ()), each.get("SPDX-License-Identifier")
        if isinstance(licence, list) and all(isinstance(one, str) for one in licence):
            licence = " AND ".join(f"({one})" for one in licence)
        if isinstance(licence, str) and licence:
            listed = [paths] if isinstance(paths, str) else [path for path in paths if isinstance(path, str)]
            yield _compiled(listed, "[^/]*"), licence
