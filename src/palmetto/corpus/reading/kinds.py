"""Kinds of file: what is read how, by name."""

from pathlib import PurePosixPath
from typing import Literal

from palmetto.corpus.reading import code_languages
from palmetto.recipe.corpus import Source

COMPRESSIONS = (".gz", ".zst", ".bz2")

Kind = Literal["text", "lines", "json", "csv", "tsv", "parquet", "warc", "html", "wiki", "mail", "code"]

_RECORDS: dict[str, Kind] = {".jsonl": "lines", ".ndjson": "lines", ".parquet": "parquet"}
_PROSE: dict[str, Kind] = {
    ".txt": "text", ".md": "text", ".rst": "text", ".log": "text", ".json": "json", ".warc": "warc", ".wet": "warc",
    ".csv": "csv", ".tsv": "tsv", ".html": "html", ".htm": "html", ".xhtml": "html", ".xml": "wiki",
    ".mbox": "mail", ".eml": "mail"
}  # fmt: skip
UNDERSTOOD = f"{', '.join((*_PROSE, *_RECORDS))}, each also {', '.join(COMPRESSIONS)}"
UNDERSTOOD_OF_CODE = f"{', '.join(_RECORDS)} and files of the 24 languages ({', '.join(code_languages.EXTENSIONS)})"


def understood(source: Source) -> str:
    """What can be read of a source, for a message."""
    return UNDERSTOOD_OF_CODE if source.kind == "code" else UNDERSTOOD


def compression(name: str) -> str:
    """The extension that a compressed file has beyond its own, or nothing."""
    suffix = PurePosixPath(name.lower()).suffix
    return suffix if suffix in COMPRESSIONS else ""


def kind(name: str, source: Source, checkout: bool) -> Kind | None:
    """How a file of a source is read; None if it is not. Within a checkout everything is code or nothing.

    Among code, tables with a comma or a tab are data, not records.
    """
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    if source.kind == "code":
        return "code" if code_languages.language(path.name) else None if checkout else _RECORDS.get(path.suffix)
    return _PROSE.get(path.suffix) or _RECORDS.get(path.suffix)
