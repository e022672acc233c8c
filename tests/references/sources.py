"""Contains sources of every kind of file, their texts, and the messages that refuse them."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from palmetto.corpus import documents
from palmetto.errors import UserError

SECTION = 1 << 16


def texts(source: Path) -> list[str]:
    return [document.text for document in documents.read(str(source), SECTION)]


def parquet_bytes(column: str, values: pyarrow.Array) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({"id": pyarrow.array(range(len(values))), column: values}), buffer)
    return buffer.getvalue()


def refusal(source: Path) -> str:
    with pytest.raises(UserError) as caught:
        texts(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


PLAIN = {
    ".txt": b"one\r\ntwo",
    ".md": b"one\r\ntwo",
    ".jsonl": b'{"text": "one\\r\\ntwo", "id": 1}\n\n',
    ".parquet": parquet_bytes("text", pyarrow.array(["one\r\ntwo"])),
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
