"""Defines the stage that removes documents of equal text, ignoring white space."""

import functools
import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from palmetto.corpus.duplicates import keyed, survivor
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View

_HASHES, _REPEATS = "hashes", "repeats"
_ASCII_WHITE = bytes(code for code in range(128) if chr(code).isspace())
_WHITE = re.compile("[" + "".join(chr(code) for code in range(128, 0x3001) if chr(code).isspace()) + "]")
_HASHED = np.dtype([("key", "<u8"), ("rest", "<u8"), ("number", "<u8"), ("id", "S32"), ("size", "<i8")])


@dataclass(frozen=True)
class ExactDuplicates:
    """The stage that drops all but one (survivor.py) of documents whose texts are equal in NFC without white space.

    Case matters. Texts with the same 128-bit hash (BLAKE2b) count as equal. The column `duplicate_of` holds the id of
    the document that stays. The stage writes 64 bytes per document for its work.
    """

    name = "exact duplicates"

    @property
    def identity(self) -> dict[str, Any]:
        """The stage's version and Unicode's, which NFC depends on."""
        return {"version": 1, "unicode": unicodedata.unidata_version}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Hashes every shard, then finds equal hashes, one range of hashes at a time."""
        keyed.write_shards(folder, view.shards)
        keyed.run_all(engine, functools.partial(_hash, view, folder), list(enumerate(view.shards)))
        files = [keyed.shard_file(folder, _HASHES, shard) for shard in view.shards]
        keyed.run_all(engine, functools.partial(_compare, files, folder), keyed.partitions(files))

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Drops the duplicates and fills `duplicate_of`."""
        place = keyed.shards(folder).index(shard)
        return keyed.notes(len(documents), place, (folder / _REPEATS).glob("*.npy"), "exact duplicate")


def normalized(text: str) -> bytes:
    """Returns the bytes that are compared."""
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
    found = survivor.entries(documents, place)
    for name in ("number", "id", "size"):
        rows[name] = found[name]
    keyed.write(path, rows)


def _compare(files: list[Path], folder: Path, keys: keyed.Range) -> None:
    path = keys.file(folder, _REPEATS)
    if path.exists():
        return
    rows = keyed.read(files, keys, _HASHED)
    rows = rows[np.lexsort((rows["rest"], rows["key"]))]
    rows = rows[keyed.is_repeated(rows["key"])]
    keyed.write(path, survivor.repeats(rows, np.cumsum(keyed.is_first(rows["key"], rows["rest"]))))
