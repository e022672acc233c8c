"""Recognizes the files of a repository that state its licence, by their names, and reads what each states."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from palmetto.corpus.reading import code_languages
from palmetto.corpus.rules.licences import file_lists, manifests, readme
from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED, names
from palmetto.corpus.rules.licences.statements import named
from palmetto.corpus.rules.licences.texts import recognized

Role = Literal["text", "list", "manifest", "readme"]
"""The kind of such a file.

text: a licence's own text. list: a list of files and their licences (debian/copyright, REUSE.toml). manifest: a
package's description. readme: a README, which counts if nothing else states a licence.
"""

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
"""Folders whose licence files apply to the folder that contains them."""


def is_licence_file(name: str) -> bool:
    """Returns whether a file's name is that of a licence: LICENSE, LICENCE.md, LICENSE-MIT, COPYING, GPL.txt, not
    license.py.
    """
    return bool(_TEXT.match(name)) and code_languages.language(name) is None


def place(path: str) -> tuple[str, Role] | None:
    """Returns the folder that a file applies to ("." for the top) and its role, or None if it does not concern
    licences.
    """
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
    """Returns the ending of "GPL-3.0", which is a version rather than an extension."""
    return (suffix.lower(),) if re.fullmatch(r"\.\d[\w-]*", suffix) else ()


@dataclass(frozen=True)
class Statement:
    """The licence that a file states, for all files below its folder or for those that patterns match."""

    role: Role
    licence: str | None
    """None if the file states nothing, UNRECOGNIZED if it is not understood."""
    patterns: file_lists.Patterns = ()
    """The patterns of a list, for paths below the folder."""

    def of(self, path: str) -> str | None:
        """Returns the licence of a file by its path below the folder; in a list, the last pattern that matches
        counts.
        """
        return next((licence for pattern, licence in reversed(self.patterns) if pattern.fullmatch(path)), self.licence)

    @property
    def known(self) -> set[str]:
        """The names of all licences in a list."""
        return {name for _, licence in self.patterns for name in names(licence)}


def statement(path: str, role: Role, text: str) -> Statement:
    """Returns what a file's text states."""
    name = PurePosixPath(path).name
    if role == "list":
        return Statement(role, None, file_lists.read(name, text))
    if role == "manifest":
        return Statement(role, manifests.stated(name, text))
    if role == "readme":
        return Statement(role, readme.stated(text))
    found = recognized(text) or named(re.sub(r"(?i)(?<=[a-z\d])\.(?:md|txt|rst)$", "", name))
    return Statement(role, found or (UNRECOGNIZED if _MUST_SAY.match(name) else None))
