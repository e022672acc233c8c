"""Looks up values of documents by number in memory-mapped files."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from palmetto.files import atomic

_OPEN_FILES = 256


class _File(NamedTuple):
    numbers: np.ndarray[Any, np.dtype[np.uint64]]
    columns: dict[str, pa.ChunkedArray]


class Mapped:
    """Tables with a column `number` (uint64), one per shard; a value is found by the document's number."""

    def __init__(self, folder: Path, shards: Sequence[str]) -> None:
        self._folder, self._shards = folder, shards
        self._open = functools.lru_cache(_OPEN_FILES)(self._map)

    def path(self, place: int) -> Path:
        """Returns the file of the shard at `place`."""
        return self._folder / f"{self._shards[place]}.arrow"

    def write(self, place: int, table: pa.Table) -> None:
        """Writes a shard's file atomically."""
        with atomic(self.path(place)) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table.sort_by("number").combine_chunks())

    def find(self, number: int, column: str) -> pa.Scalar:
        """Returns the value of a document, which must be in the table."""
        file = self._open(number >> 32)
        return file.columns[column][int(np.searchsorted(file.numbers, np.uint64(number)))]

    def _map(self, place: int) -> _File:
        table = pa.ipc.open_file(pa.memory_map(str(self.path(place)))).read_all()
        return _File(table["number"].to_numpy(), {name: table[name] for name in table.column_names})
