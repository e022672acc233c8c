"""Reads and writes documents and stages' notes as Parquet files; the same rows give the same bytes."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from palmetto.files import atomic

DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("language", pa.string()),
    ]
)
"""The schema of extracted documents.

id: 32 hex digits, a hash of source and name. name: the file within the source and the place within the file. url,
licence and language are what the source states; for code, language is the programming language.
"""

EDITS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("text", pa.string())]))
"""The type of a document's edits: `text` replaces [start, end), in characters of the original; sorted, not overlapping.
"""

METADATA = b"palmetto"
"""The schema's metadata key for the JSON values of `write`."""


def write(path: Path, table: pa.Table, **metadata: Any) -> None:
    """Writes a table atomically, with JSON values in its schema's metadata."""
    named = table.replace_schema_metadata({METADATA: json.dumps(metadata, sort_keys=True).encode()})
    with atomic(path) as file:
        # Column statistics would hold full copies of the smallest and the largest text.
        parquet.write_table(named, file, compression="zstd", row_group_size=16384, write_statistics=False)


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Returns the table of a file, or only the given columns."""
    return parquet.read_table(path, columns=columns).replace_schema_metadata(None)


def metadata(path: Path) -> Any:
    """Returns the JSON values that `write` stored, without reading the table."""
    return json.loads(parquet.read_schema(path).metadata[METADATA])


def sizes(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the size of each text in bytes of UTF-8."""
    return pa.compute.binary_length(texts.cast(pa.large_binary()))


def edited(text: str, edits: Iterable[Mapping[str, Any]]) -> str:
    """Returns a text with `EDITS` applied."""
    parts, position = [], 0
    for edit in edits:
        assert position <= edit["start"] <= edit["end"], "edits in order, apart from each other"
        parts += [text[position : edit["start"]], edit["text"]]
        position = edit["end"]
    return "".join(parts) + text[position:]
