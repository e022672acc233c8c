"""A record with named fields, from any kind of file that has them."""

from collections.abc import Mapping
from typing import Any

from palmetto.corpus.reading import code_languages, encoding, markup, opening
from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.records import Dropped, Item, Record
from palmetto.corpus.rules.licences import expressions, manifests
from palmetto.corpus.rules.licences.repository import Shelf
from palmetto.recipe.corpus import Source

_LICENCES = (
    *("license", "licence", "licenses", "licences", "max_stars_repo_licenses", "detected_licenses", "gha_license_id"),
    *("repo_license", "license_spdx", "spdx_id"),
)
"""Fields that state a licence, as data sets of code have them (GitHub's interface, The Stack), the first that does."""
_PATHS = ("path", "max_stars_repo_path")
_REPOSITORIES = ("repo", "repo_name", "max_stars_repo_name")
_NESTED = ("meta", "metadata", "repository", "repo")
"""Fields whose objects may state it instead."""
LICENCE_FIELDS = {*_LICENCES, *_PATHS, *_REPOSITORIES, *_NESTED}
"""Fields that are looked at for a licence and the repository that it is of."""
_SHOWN = 8


def record(values: Any, name: str, file: File, source: Source, shelf: Shelf | None = None) -> Item:
    """The document of a record: the fields that hold its text, a line each, as far as it has them.

    Of code, `path` says the language and, with `repo`, where it is from; `license` under which licence it is.
    """
    if not isinstance(values, Mapping):
        return Problem(file.source, name, f"a JSON {type(values).__name__}, expected an object", len(str(values)))
    wanted = [field for field in source.text if field in values]
    if not wanted:
        fields = ", ".join(map(repr, list(values)[:_SHOWN])) or "none"
        named = " or ".join(f"`{field}`" for field in source.text)
        return Problem(file.source, name, f"no field {named}, its fields: {fields}", _size(values))
    parts = []
    for field in wanted:
        try:
            text = _text(values[field])
            text = markup.plain(text, source.markup) if text else text
        except encoding.Undecodable as error:
            return Problem(file.source, name, f"`{field}`: {error}", _size(values))
        if text is None:
            kind = type(values[field]).__name__
            reason = f"`{field}` is {kind} {str(values[field])[:40]!r}, expected a string"
            return Problem(file.source, name, reason, _size(values))
        if text:
            parts.append(text)
    text = "\n".join(parts)
    if len(text) > opening.RECORD_BYTES:
        return Problem(file.source, name, opening.too_long(len(text)), len(text))
    url = _string(values.get(source.url)) if source.url else None
    if source.kind != "code":
        return Record(name, text, url, _licence(values) or source.licence, source.language)
    path, repository = _string(values.get("path")), _string(values.get("repo"))
    language = code_languages.language(path) if path else source.language
    if path and language is None:
        return Dropped(name, "not one of the 24 languages", len(text.encode(errors="surrogatepass")))
    address = f"{repository}/{path}" if path and repository else path
    where = place(values)
    filed = shelf.licence(where) if shelf and where else None
    licence = expressions.combined(_licence(values), filed) or source.licence
    return Record(name, text, url or address, licence, language)


def place(values: Mapping[str, Any]) -> str | None:
    """Returns where a record of code is from: its repository and the path within."""
    path = next((found for field in _PATHS if (found := _string(values.get(field)))), None)
    repository = next((found for field in _REPOSITORIES if (found := _string(values.get(field)))), None)
    return f"{repository}/{path}" if path and repository else path


def _size(values: Mapping[str, Any]) -> int:
    """About as many bytes as a record's strings have."""
    return sum(len(value) for value in values.values() if isinstance(value, str | bytes))


def _text(value: Any) -> str | None:
    """A string, bytes in any encoding, or a list of strings, a line each; null is empty; None of anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return encoding.decode(value)
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "\n".join(value)
    return None


def _string(value: Any) -> str | None:
    """A field that is to be a name or an address, if it is one."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) and value else None


def _licence(values: Mapping[str, Any]) -> str | None:
    """Returns the licence that a record states: a name, names that all hold, or GitHub's object; in it or within."""
    inner = [values[field] for field in _NESTED if isinstance(values.get(field), Mapping)]
    for described in (values, *inner):
        for field in _LICENCES:
            value = described.get(field)
            if isinstance(value, list):
                value = expressions.joined([found for each in value if (found := _string(manifests.of_field(each)))])
            if found := _string(manifests.of_field(value) if isinstance(value, dict) else value):
                return found
    return None
