"""A record with named fields, from any kind of file that has them."""

from collections.abc import Mapping
from typing import Any

from palmetto.corpus import code_languages, encoding, licences, markup, opening
from palmetto.corpus.finding import File, Problem
from palmetto.corpus.records import Dropped, Item, Record
from palmetto.recipe.corpus import Source

Shelf = Mapping[str, str]
"""Licences by folder of a repository (`repo/folder`)."""

_SHOWN = 8


def record(values: Any, name: str, file: File, source: Source, shelf: Shelf | None = None) -> Item:
    """The document of a record: the fields that hold its text, a line each, as far as it has them.

    Of code, `path` says the language and, with `repo`, where it is from; `license` under which licence it is.
    """
    if not isinstance(values, Mapping):
        return Problem(file.source, name, f"a JSON {type(values).__name__}, expected an object")
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
    place = f"{repository}/{path}" if path and repository else path
    filed = licences.nearest(shelf, place) if shelf and place else None
    return Record(name, text, url or place, licences.combined(_licence(values), filed) or source.licence, language)


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
    for field in ("license", "licence", "licenses"):
        value = values.get(field)
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            value = licences.joined(value)
        if found := _string(value):
            return found
    return None
