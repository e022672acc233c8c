"""Converts records with named fields, from any kind of file, to documents."""

from collections.abc import Mapping
from typing import Any

from palmetto.corpus.reading import code_languages, encoding, markup, opening
from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.records import Dropped, Item, Record
from palmetto.corpus.rules.licences import expressions, manifests
from palmetto.corpus.rules.licences.repository import RecordedLicences
from palmetto.recipe.corpus import Source

_LICENCES = (
    *("license", "licence", "licenses", "licences", "max_stars_repo_licenses", "detected_licenses", "gha_license_id"),
    *("repo_license", "license_spdx", "spdx_id"),
)
"""Fields that state a licence in data sets of code (GitHub's API, The Stack); the first that is present counts."""
_PATHS = ("path", "max_stars_repo_path")
_REPOSITORIES = ("repo", "repo_name", "max_stars_repo_name")
_NESTED = ("meta", "metadata", "repository", "repo")
"""Fields whose objects may state the licence instead."""
LICENCE_FIELDS = {*_LICENCES, *_PATHS, *_REPOSITORIES, *_NESTED}
"""Fields that may hold a licence or the repository that it applies to."""
_SHOWN = 8


def record(values: Any, name: str, file: File, source: Source, licences: RecordedLicences | None = None) -> Item:
    """Returns the document of a record: those of its fields that hold text, joined by line breaks.

    For code, `path` determines the language and, with `repo`, the origin; `license` states the licence.
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
    filed = licences.licence(where) if licences and where else None
    licence = expressions.combined(_licence(values), filed) or source.licence
    return Record(name, text, url or address, licence, language)


def place(values: Mapping[str, Any]) -> str | None:
    """Returns where a record of code comes from: its repository and its path."""
    path = next((found for field in _PATHS if (found := _string(values.get(field)))), None)
    repository = next((found for field in _REPOSITORIES if (found := _string(values.get(field)))), None)
    return f"{repository}/{path}" if path and repository else path


def _size(values: Mapping[str, Any]) -> int:
    """Returns the approximate size of a record's strings in bytes."""
    return sum(len(value) for value in values.values() if isinstance(value, str | bytes))


def _text(value: Any) -> str | None:
    """Returns the text of a string, of bytes in any encoding, or of a list of strings; "" for null, None for other
    values.
    """
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
    """Returns the value if it is a non-empty string (a name or an address), else None."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) and value else None


def _licence(values: Mapping[str, Any]) -> str | None:
    """Returns the licence that a record or an object in it states: a name, names that all apply, or GitHub's object."""
    inner = [values[field] for field in _NESTED if isinstance(values.get(field), Mapping)]
    for described in (values, *inner):
        for field in _LICENCES:
            value = described.get(field)
            if isinstance(value, list):
                value = expressions.joined([found for each in value if (found := _string(manifests.of_field(each)))])
            if found := _string(manifests.of_field(value) if isinstance(value, dict) else value):
                return found
    return None
