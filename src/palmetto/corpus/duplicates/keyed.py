"""Groups rows by key across shards that are never in memory together.

Each shard's rows are written sorted by key, so the rows of a range of keys are a slice of every file. Files are mapped,
and a partition reads only its slices. With hashes as keys, equal ranges have about equal numbers of rows.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from palmetto.corpus.engine import Engine, Task
from palmetto.files import atomic, read_json, write_json

Rows = npt.NDArray[Any]
"""A structured array with a field `key`, uint64."""
Numbers = npt.NDArray[np.uint64]
"""Documents of a view as numbers: the shard's place << 32 | the row within it."""

REPEATS = np.dtype([("key", "<u8"), ("kept", "S32")])
"""The number of a document that is dropped, and the id of the one that stays instead."""

_SHARDS = "shards.json"
_PARTITION_BYTES = 128 << 20


class Range(NamedTuple):
    """The keys in [low, high)."""

    low: int
    high: int

    def file(self, folder: Path, kind: str) -> Path:
        """Returns the path of the rows of a kind that result from this range."""
        return folder / kind / f"{self.low:016x}.npy"


def shard_file(folder: Path, kind: str, shard: str) -> Path:
    """Returns the path of a shard's rows of a kind."""
    return folder / kind / f"{shard}.npy"


def write(path: Path, rows: Rows) -> None:
    """Writes rows atomically, sorted by key; rows of equal keys keep their order."""
    with atomic(path) as file:
        np.save(file, rows[np.argsort(rows["key"], kind="stable")])


def read(paths: Iterable[Path], keys: Range, dtype: np.dtype[Any]) -> Rows:
    """Returns the rows of a range of keys, file after file."""
    slices = [np.empty(0, dtype)]
    for path in paths:
        rows = np.load(path, mmap_mode="r")
        low, high = (bisect.bisect_left(rows["key"], key) for key in keys)
        slices.append(np.array(rows[low:high]))
    return np.concatenate(slices)


def partitions(paths: Sequence[Path]) -> list[Range]:
    """Returns ranges of keys that cover all keys, with about 128 MiB of rows each."""
    count = max(1, math.ceil(sum(path.stat().st_size for path in paths) / _PARTITION_BYTES))
    return [Range(*bounds) for bounds in itertools.pairwise((part << 64) // count for part in range(count + 1))]


def run_all(engine: Engine, function: Callable[[Task], None], tasks: Sequence[Task]) -> None:
    """Runs a function that only writes files on all tasks."""
    for _ in engine.map(function, tasks):
        pass


def numbers(place: int, rows: npt.NDArray[Any]) -> Numbers:
    """Returns the numbers of rows of the shard at `place` in its view."""
    return np.uint64(place << 32) | rows.astype(np.uint64)


def write_shards(folder: Path, shards: Sequence[str]) -> None:
    """Records the names of the view's shards for `annotate`."""
    write_json(folder / _SHARDS, shards)


def shards(folder: Path) -> list[str]:
    """Returns the names that `write_shards` recorded."""
    names: list[str] = read_json(folder / _SHARDS)
    return names


def rows_of(values: Numbers) -> npt.NDArray[np.int64]:
    """Returns the rows of documents within their shards."""
    return (values & np.uint64(0xFFFFFFFF)).astype(np.int64)


def numbers_of(place: int) -> Range:
    """Returns the numbers of all documents of a shard as a range of keys."""
    return Range(place << 32, (place + 1) << 32)


def split(values: Numbers) -> list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Groups documents by shard: returns the shard's place, the positions in `values`, and the rows in the shard."""
    shards, rows = (values >> np.uint64(32)).astype(np.int64), rows_of(values)
    order = np.argsort(shards, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(shards[order])) + 1) if len(order) else []
    return [(int(shards[part[0]]), part, rows[part]) for part in parts]


def is_first(column: npt.NDArray[Any], *others: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Returns which of sorted rows differ from the row before."""
    first = np.ones(len(column), bool)
    first[1:] = column[1:] != column[:-1]
    for other in others:
        first[1:] |= other[1:] != other[:-1]
    return first


def is_repeated(sorted_keys: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Returns which of sorted keys occur more than once."""
    first = is_first(sorted_keys)
    last = np.ones(len(first), bool)
    last[:-1] = first[1:]
    return ~(first & last)


def group_starts(first: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Returns, for every row, the position of the last row up to it that `first` marks. first: from `is_first`."""
    return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


def notes(length: int, place: int, repeats: Iterable[Path], reason: str) -> pa.Table:
    """Returns `dropped` and `duplicate_of` for the documents of a shard. repeats: files of REPEATS."""
    found = read(repeats, numbers_of(place), REPEATS)
    dropped, kept = np.full(length, None, object), np.full(length, None, object)
    rows = rows_of(found["key"])
    dropped[rows] = reason
    kept[rows] = [name.decode() for name in found["kept"].tolist()]
    return pa.table({"dropped": pa.array(dropped, pa.string()), "duplicate_of": pa.array(kept, pa.string())})
