"""Determines a file's licence from its repository: that of the nearest folder that states one."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED, combined, copyleft, joined, names
from palmetto.corpus.rules.licences.files import Statement, place, statement

Level = tuple[str, tuple[Statement, ...]]
"""The path of a file below a folder, and what the folder's files state."""


def nearest_licence(levels: Iterable[Level]) -> str | None:
    """Returns the licence of a file: that of the nearest folder which states one that is understood.

    Within a folder, lists of files come first, then package descriptions with licence texts (both apply if a text is
    copyleft that the description does not name). A README counts if nothing else in its folder or above states a
    licence; a nearer README also counts if it states copyleft. A file on the way that is not understood adds
    UNRECOGNIZED.
    """
    readme: str | None = None
    unclear = False
    for path, statements in levels:
        by_role = {
            role: [each.of(path) for each in statements if each.role == role]
            for role in ("list", "manifest", "text", "readme")
        }
        unclear |= any(UNRECOGNIZED in found for found in by_role.values())
        listed, stated, filed, described = (
            joined([each for each in by_role[role] if each and each != UNRECOGNIZED])
            for role in ("list", "manifest", "text", "readme")
        )
        if filed and described and " OR " in described and not copyleft(described) and names(filed) <= names(described):
            # The texts alone do not say that one may choose.
            stated = stated or described
        # A list that names a copyleft text says which files it applies to.
        known = {name for each in statements for name in each.known}
        strong = listed if listed and filed and names(filed) <= known else combined(listed or stated, filed)
        if strong:
            return _with(_all(readme if readme and copyleft(readme) else None, strong), unclear)
        readme = readme or described
    return _with(readme, unclear)


def _all(*parts: str | None) -> str | None:
    return joined([part for part in parts if part])


def _with(licence: str | None, unclear: bool) -> str | None:
    return _all(licence, UNRECOGNIZED) if unclear else licence


class RecordedLicences:
    """The statements of licence files by folder, for repositories whose files are records."""

    def __init__(self) -> None:
        self._statements: dict[str, list[Statement]] = {}

    def add(self, path: str, text: str) -> None:
        """Adds a file if it concerns licences. path: below a folder that holds all repositories."""
        if found := place(path):
            folder, role = found
            self._statements.setdefault(folder, []).append(statement(path, role, text))

    def licence(self, path: str) -> str | None:
        """Returns the licence of a file according to the files added."""
        return nearest_licence(
            (path if folder == "." else path[len(folder) + 1 :], tuple(self._statements[folder]))
            for above in PurePosixPath(path).parents
            if (folder := above.as_posix()) in self._statements
        )
