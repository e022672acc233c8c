"""The licence of a file from what its repository says: the nearest folder that says anything understood."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED, combined, copyleft, joined, names
from palmetto.corpus.rules.licences.files import Said, place, says

Level = tuple[str, tuple[Said, ...]]
"""The path of a file below a folder, and what the folder's files say."""


def decided(levels: Iterable[Level]) -> str | None:
    """Returns the licence of a file: the nearest folder's, of all up to the top, that states one which is understood.

    Within a folder, lists of files come first, then descriptions of packages with licence texts (both hold where a
    text is copyleft that the description does not name). A README counts where these say nothing there or further up;
    nearer than they do, if it states copyleft. A file on the way that is not understood is added as UNRECOGNIZED.
    """
    readme: str | None = None
    unclear = False
    for path, said in levels:
        by_role = {
            role: [each.of(path) for each in said if each.role == role]
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
        # A list that knows of a copyleft text says which files it is for.
        known = {name for each in said for name in each.known}
        strong = listed if listed and filed and names(filed) <= known else combined(listed or stated, filed)
        if strong:
            return _with(_all(readme if readme and copyleft(readme) else None, strong), unclear)
        readme = readme or described
    return _with(readme, unclear)


def _all(*parts: str | None) -> str | None:
    return joined([part for part in parts if part])


def _with(licence: str | None, unclear: bool) -> str | None:
    return _all(licence, UNRECOGNIZED) if unclear else licence


class Shelf:
    """The statements of licence files, by folder, where repositories are records of a file."""

    def __init__(self) -> None:
        self._said: dict[str, list[Said]] = {}

    def add(self, path: str, text: str) -> None:
        """Takes in a file, if it speaks of licences; path: below a folder that holds all repositories."""
        if found := place(path):
            folder, role = found
            self._said.setdefault(folder, []).append(says(path, role, text))

    def licence(self, path: str) -> str | None:
        """Returns the licence of a file by what has been taken in."""
        return decided(
            (path if folder == "." else path[len(folder) + 1 :], tuple(self._said[folder]))
            for above in PurePosixPath(path).parents
            if (folder := above.as_posix()) in self._said
        )
