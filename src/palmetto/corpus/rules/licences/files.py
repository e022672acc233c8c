"""The files of a repository that speak of its licence, by their names, and what each says."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from palmetto.corpus.reading import code_languages
from palmetto.corpus.rules.licences import manifests, readme, stanzas
from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED, names
from palmetto.corpus.rules.licences.statements import named
from palmetto.corpus.rules.licences.texts import recognized

Role = Literal["text", "list", "manifest", "readme"]
"""A licence's own text; a list of which files have which (debian/copyright, REUSE.toml); a package's description; a
README, which is asked where nothing else says."""

_GIVEN = r"(?:gpl|lgpl|agpl|mpl|epl|eupl|cddl|mit|bsd|apache|isc|cc0|cc-by[a-z-]*|gnu|wtfpl|zlib|boost|unlicen[cs]e)"
_TEXT = re.compile(
    rf"^(?:un)?licen[cs]e|^licen[cs]ing(?:\.(?:md|txt|rst))?$|^copying|^copyright(?:\.(?:md|txt|rst))?$|^copyleft"
    rf"|^{_GIVEN}[-_.]?v?[\d.]*(?:[-_.]?(?:or-later|only|clause))?(?:\.(?:md|txt|rst))?$|^{_GIVEN}[-_.]?v?[\d.]*[-_.]licen[cs]e",
    re.IGNORECASE,
)
_MUST_SAY = re.compile(r"^(?:un)?licen[cs]e|^copying", re.IGNORECASE)
_FOLDER = re.compile(r"^licen[cs]es?$", re.IGNORECASE)
_REUSE = "LICENSES"
_PLAIN = ("", ".txt", ".md", ".rst", ".text")
_README = re.compile(r"^readme(?:\.(?:md|markdown|rst|txt|org|adoc|rdoc))?$", re.IGNORECASE)
_LISTS = {"debian": "copyright", ".reuse": "dep5"}
FOLDERS = re.compile(r"^(?:licen[cs]es?|debian|\.reuse)$", re.IGNORECASE)
"""Folders whose licence files speak for the folder that they lie in."""


def is_licence_file(name: str) -> bool:
    """Returns whether a file is a licence by its name: LICENSE, LICENCE.md, LICENSE-MIT, COPYING, COPYRIGHT, GPL.txt,
    not license.py."""
    return bool(_TEXT.match(name)) and code_languages.language(name) is None


def place(path: str) -> tuple[str, Role] | None:
    """Returns the folder that a file speaks for ("." is the topmost), and how; None if it says nothing of licences."""
    inner = PurePosixPath(path)
    folder, name = inner.parent, inner.name
    if _LISTS.get(folder.name) == name:
        return folder.parent.as_posix(), "list"
    if name == "REUSE.toml":
        return folder.as_posix(), "list"
    if folder.name and _FOLDER.match(folder.name):
        reuse = folder.name == _REUSE and inner.suffix.lower() in (*_PLAIN, *_versions(inner.suffix))
        if reuse or is_licence_file(name):
            return folder.parent.as_posix(), "text"
    if is_licence_file(name):
        return folder.as_posix(), "text"
    if manifests.is_manifest(name):
        return folder.as_posix(), "manifest"
    if _README.match(name):
        return folder.as_posix(), "readme"
    return None


def _versions(suffix: str) -> tuple[str, ...]:
    """The ending of "GPL-3.0", which is a version and no extension."""
    return (suffix.lower(),) if re.fullmatch(r"\.\d[\w-]*", suffix) else ()


@dataclass(frozen=True)
class Said:
    """The licence that a file states: of all files below its folder, or of those that patterns match."""

    role: Role
    licence: str | None
    """None: nothing. UNRECOGNIZED: something that is not understood."""
    patterns: stanzas.Patterns = ()
    """Of a list: by paths below the folder."""

    def of(self, path: str) -> str | None:
        """Returns the licence of a file, by its path below the folder; in a list the last that matches counts."""
        return next((licence for pattern, licence in reversed(self.patterns) if pattern.fullmatch(path)), self.licence)

    @property
    def known(self) -> set[str]:
        """The names of all licences that a list has."""
        return {name for _, licence in self.patterns for name in names(licence)}


def says(path: str, role: Role, text: str) -> Said:
    """Returns what a file's text says."""
    name = PurePosixPath(path).name
    if role == "list":
        return Said(role, None, stanzas.read(name, text))
    if role == "manifest":
        return Said(role, manifests.stated(name, text))
    if role == "readme":
        return Said(role, readme.stated(text))
    found = recognized(text) or named(re.sub(r"(?i)(?<=[a-z\d])\.(?:md|txt|rst)$", "", name))
    return Said(role, found or (UNRECOGNIZED if _MUST_SAY.match(name) else None))
