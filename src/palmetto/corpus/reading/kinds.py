"""Determines from a file's name how it is read."""

from pathlib import PurePosixPath
from typing import Literal

from palmetto.corpus.reading import code_languages
from palmetto.recipe.corpus import Source

COMPRESSIONS = (".gz", ".zst", ".bz2")

Kind = Literal["text", "lines", "json", "csv", "tsv", "parquet", "warc", "html", "wiki", "mail", "code"]

_RECORDS: dict[str, Kind] = {".jsonl": "lines", ".ndjson": "lines", ".parquet": "parquet"}
_PROSE: dict[str, Kind] = {
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".log": "text",
    ".json": "json",
    ".warc": "warc",
    ".wet": "warc",
    ".csv": "csv",
    ".tsv": "tsv",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".xml": "wiki",
    ".mbox": "mail",
    ".eml": "mail",
}
UNDERSTOOD = f"{', '.join((*_PROSE, *_RECORDS))}, each also {', '.join(COMPRESSIONS)}"
UNDERSTOOD_OF_CODE = f"{', '.join(_RECORDS)} and files of the 24 languages ({', '.join(code_languages.EXTENSIONS)})"


def understood(source: Source) -> str:
    """Returns the kinds of file that can be read of a source, for a message."""
    return UNDERSTOOD_OF_CODE if source.kind == "code" else UNDERSTOOD


def compression(name: str) -> str:
    """Returns the extension of a compressed file's compression, or ""."""
    suffix = PurePosixPath(name.lower()).suffix
    return suffix if suffix in COMPRESSIONS else ""


def kind(name: str, source: Source, checkout: bool) -> Kind | None:
    """Returns how a file of a source is read, or None if it is not read.

    A checkout holds only code; among other files of code, tables of records are read too, but not .csv and .tsv.
    """
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    if source.kind == "code":
        return "code" if code_languages.language(path.name) else None if checkout else _RECORDS.get(path.suffix)
    return _PROSE.get(path.suffix) or _RECORDS.get(path.suffix)
