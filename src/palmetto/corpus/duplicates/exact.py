"""Documents of the same text but for white space."""

import functools
import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from palmetto.corpus.duplicates import keyed, rule
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View

_HASHES, _REPEATS = "hashes", "repeats"
_ASCII_WHITE = bytes(code for code in range(128) if chr(code).isspace())
_WHITE = re.compile("[" + "".join(chr(code) for code in range(128, 0x3001) if chr(code).isspace()) + "]")
_HASHED = np.dtype([("key", "<u8"), ("rest", "<u8"), ("number", "<u8"), ("id", "S32"), ("size", "<i8")])


@dataclass(frozen=True)
class ExactDuplicates:
    """Drops all but one (rule.py) of documents whose texts are equal in Unicode's NFC without white space; case counts.
    Texts of equal 128-bit hash (BLAKE2b) are taken for equal.

    Notes `duplicate_of`: the id of the one that stays. Writes 64 bytes a document while it works.
    """

    name = "exact duplicates"

    @property
    def identity(self) -> dict[str, Any]:
        """See `Stage`."""
        return {"version": 1, "unicode": unicodedata.unidata_version}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Hashes every shard, then finds equal hashes, a range of them at a time."""
        keyed.write_shards(folder, view.shards)
        keyed.each(engine, functools.partial(_hash, view, folder), list(enumerate(view.shards)))
        files = [keyed.shard_file(folder, _HASHES, shard) for shard in view.shards]
        keyed.each(engine, functools.partial(_compare, files, folder), keyed.partitions(files))

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """See `Stage`."""
        place = keyed.shards(folder).index(shard)
        return keyed.notes(len(documents), place, (folder / _REPEATS).glob("*.npy"), "exact duplicate")


def normalized(text: str) -> bytes:
    """What two texts have in common to be equal."""
    if not text.isascii():
        text = _WHITE.sub("", unicodedata.normalize("NFC", text))
    return text.encode().translate(None, _ASCII_WHITE)


def _hash(view: View, folder: Path, numbered: tuple[int, str]) -> None:
    place, shard = numbered
    path = keyed.shard_file(folder, _HASHES, shard)
    if path.exists():
        return
    documents = view.read(shard, ["id", "text"])
    digests = [hashlib.blake2b(normalized(text.as_py()), digest_size=16).digest() for text in documents["text"]]
    rows = np.empty(len(documents), _HASHED)
    rows["key"], rows["rest"] = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2).T
    found = rule.entries(documents, place)
    for name in ("number", "id", "size"):
        rows[name] = found[name]
    keyed.write(path, rows)


def _compare(files: list[Path], folder: Path, keys: keyed.Range) -> None:
    path = keys.file(folder, _REPEATS)
    if path.exists():
        return
    rows = keyed.read(files, keys, _HASHED)
    rows = rows[np.lexsort((rows["rest"], rows["key"]))]
    rows = rows[keyed.not_alone(rows["key"])]
    keyed.write(path, rule.repeats(rows, np.cumsum(keyed.new(rows["key"], rows["rest"]))))
