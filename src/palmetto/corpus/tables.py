"""Tables of documents, and what stages note about them, as Parquet files that are the same bytes for the same rows."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from palmetto.errors import UserError
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
"""A document: 32 hex digits from its source and name; file within the source and place within the file; its text;
address, licence and language as its source states them (of code, the programming language)."""

EDITS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("text", pa.string())]))
"""What takes the place of [start, end), in characters of the text before; in order, apart from each other."""

METADATA = b"palmetto"


def write(path: Path, table: pa.Table, **metadata: Any) -> None:
    """Writes a table atomically, with JSON values beside its schema."""
    named = table.replace_schema_metadata({METADATA: json.dumps(metadata, sort_keys=True).encode()})
    with atomic(path) as file:
        # Statistics of texts are copies of the least and the greatest of them, whatever their size.
        parquet.write_table(named, file, compression="zstd", row_group_size=16384, write_statistics=False)


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The table of a file, or some of its columns; UserError where it is damaged."""
    try:
        return parquet.read_table(path, columns=columns).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path}: damaged ({error}); move the folder of its stage away, and build again") from None


def metadata(path: Path) -> Any:
    """The JSON values that `write` has put beside the schema; not the table itself."""
    return json.loads(parquet.read_schema(path).metadata[METADATA])


def sizes(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bytes of UTF-8 of each."""
    return pa.compute.binary_length(texts.cast(pa.large_binary()))


def edited(text: str, edits: Iterable[Mapping[str, Any]]) -> str:
    """A text after `EDITS`."""
    parts, position = [], 0
    for edit in edits:
        assert position <= edit["start"] <= edit["end"], "edits in order, apart from each other"
        parts += [text[position : edit["start"]], edit["text"]]
        position = edit["end"]
    return "".join(parts) + text[position:]
