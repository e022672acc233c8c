"""Chooses which of several duplicates stays: the longest text in bytes of UTF-8, and among those the smallest id.

So the choice depends neither on the order of the documents nor on the division into shards.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from palmetto.corpus import tables
from palmetto.corpus.duplicates import keyed
from palmetto.files import atomic

REGISTER = "register"
_ENTRY = np.dtype([("number", "<u8"), ("id", "S32"), ("size", "<i8")])
Entries = npt.NDArray[Any]


def entries(documents: pa.Table, place: int) -> Entries:
    """Returns number, id and size of the documents of the shard at `place`."""
    result = np.empty(len(documents), _ENTRY)
    result["number"] = keyed.numbers(place, np.arange(len(documents)))
    result["id"] = documents["id"].to_pylist()
    result["size"] = tables.sizes(documents["text"]).to_numpy()
    return result


def write(folder: Path, shard: str, documents: pa.Table, place: int) -> None:
    """Writes a shard's entries for `look_up`."""
    with atomic(keyed.shard_file(folder, REGISTER, shard)) as file:
        np.save(file, entries(documents, place))


def look_up(folder: Path, shards: Sequence[str], numbers: keyed.Numbers) -> Entries:
    """Returns the entries of some documents; no file is read completely."""
    result = np.empty(len(numbers), _ENTRY)
    for place, at, rows in keyed.split(numbers):
        result[at] = np.load(keyed.shard_file(folder, REGISTER, shards[place]), mmap_mode="r")[rows]
    return result


def repeats(found: Entries, groups: npt.NDArray[Any]) -> keyed.Rows:
    """Returns all entries of each group but the survivor, as keyed.REPEATS. groups: the group of each entry."""
    order = np.lexsort((found["id"], -found["size"], groups))
    found, groups = found[order], groups[order]
    best = keyed.is_first(groups)
    rows = np.empty(int((~best).sum()), keyed.REPEATS)
    rows["key"], rows["kept"] = found["number"][~best], found["id"][keyed.group_starts(best)][~best]
    return rows
