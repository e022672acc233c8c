"""Finds pairs of documents that may be near duplicates: those that share a band of their signatures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus.duplicates import bands, characters, keyed, shingles, survivor
from palmetto.corpus.stage import View
from palmetto.corpus.text import scripts
from palmetto.corpus.text.rolling import Hashes

BANDS, PAIRS, MEMBERS = "bands", "pairs", "members"
WORDS = 5
PAIR = np.dtype([("key", "<u8"), ("a", "<u8"), ("b", "<u8")])
MEMBER = np.dtype([("key", "<u8")])
_BAND = np.dtype([("key", "<u8"), ("number", "<u8")])
_NEIGHBOURS = 64


@dataclass(frozen=True)
class Kind:
    """Documents that are compared with each other."""

    jaccard: float
    """The similarity of sets of 5-grams from which two are near duplicates; for code, from which their texts are
    compared.
    """
    levenshtein: float | None
    """The similarity of texts from which two documents of code are near duplicates; None for other documents."""
    sources: tuple[str, ...]
    """All sources of code."""

    @property
    def is_code(self) -> bool:
        return self.levenshtein is not None

    def rows(self, documents: pa.Table) -> npt.NDArray[np.int64]:
        """Returns the rows of the documents of this kind."""
        is_code = pc.is_in(documents["source"], pa.array(self.sources, pa.string())).to_numpy()
        return np.flatnonzero(is_code == self.is_code)


def sign(view: View, kinds: Sequence[Kind], permutations: int, folder: Path, numbered: tuple[int, str]) -> None:
    """Writes a shard's bands, sorted, and its entries in the register."""
    place, shard = numbered
    path = keyed.shard_file(folder, BANDS, shard)
    if path.exists():
        return
    documents = view.read(shard, ["id", "source", "text"])
    survivor.write(folder, shard, documents, place)
    parts = [np.empty(0, _BAND)]
    for kind in kinds:
        rows = kind.rows(documents)
        if kind.levenshtein is not None:
            parts += _sign_code(documents["text"], rows, kind.levenshtein, place)
            continue
        shape = bands.best_shape(kind.jaccard, permutations)
        start = 0
        for texts in shingles.batches(documents["text"].take(rows).to_pylist()):
            hashes, ends = shingles.shingles(shingles.words(texts, "folded"), WORDS)
            some = np.diff(ends, prepend=0) > 0  # texts without words have no duplicates
            numbers = keyed.numbers(place, rows[start : start + len(texts)][some])
            parts.append(_banded(hashes, ends[some], shape, 0, numbers))
            start += len(texts)
    keyed.write(path, np.concatenate(parts))


def _sign_code(
    texts: pa.ChunkedArray, rows: npt.NDArray[np.int64], least: float, place: int
) -> Iterator[npt.NDArray[Any]]:
    """Yields the bands of files of code, one class of lengths after another."""
    of_class: dict[int, list[tuple[int, Hashes]]] = {}
    for row in rows.tolist():
        text = texts[row].as_py()
        hashes = characters.grams(text)
        for each in characters.classes(text, least):
            if len(chosen := characters.kept(hashes, each)):
                of_class.setdefault(each.number, []).append((row, chosen))
    for number, members in sorted(of_class.items()):
        hashes, ends = np.concatenate([chosen for _, chosen in members]), np.cumsum([len(c) for _, c in members])
        numbers = keyed.numbers(place, np.array([row for row, _ in members]))
        yield _banded(scripts.mix(hashes), ends, characters.SHAPE, 1 + number, numbers)


def _banded(
    hashes: Hashes, ends: shingles.Places, shape: bands.Shape, salt: int, numbers: keyed.Numbers
) -> npt.NDArray[Any]:
    signed = bands.bands(hashes, ends, shape, salt)
    part = np.empty(signed.size, _BAND)
    part["key"] = signed.ravel()
    part["number"] = np.repeat(numbers, shape.bands)
    return part


def match(files: Sequence[Path], shards: Sequence[str], folder: Path, keys: keyed.Range) -> None:
    """Writes the pairs that share a band whose hash lies in a range, and the documents of those pairs.

    If many documents share a band, each is paired with the next 64 in order of length only, because near duplicates
    have nearly equal lengths (sorted neighbourhoods: Hernández, Stolfo, 1995). So the number of pairs is linear in the
    documents.
    """
    pairs, members = keys.file(folder, PAIRS), keys.file(folder, MEMBERS)
    if pairs.exists() and members.exists():
        return
    rows = keyed.read(files, keys, _BAND)
    rows = rows[np.argsort(rows["key"], kind="stable")]
    rows = rows[keyed.is_repeated(rows["key"])]
    numbers, inverse = np.unique(rows["number"], return_inverse=True)
    found = survivor.look_up(folder, shards, numbers)
    rank = np.empty(len(numbers), np.int64)
    rank[np.lexsort((found["id"], found["size"]))] = np.arange(len(numbers))
    rows = rows[np.lexsort((rank[inverse], rows["key"]))]
    ends: list[keyed.Numbers] = [np.empty((2, 0), np.uint64)]
    for distance in range(1, _NEIGHBOURS + 1):
        both = rows["key"][distance:] == rows["key"][:-distance]
        if not both.any():
            break
        ends.append(np.stack([rows["number"][:-distance][both], rows["number"][distance:][both]]))
    a, b = np.sort(np.concatenate(ends, axis=1), axis=0)
    keyed.write(pairs, unique(a, b))
    keyed.write(members, np.unique(np.concatenate([a, b])).view(MEMBER))


def unique(a: keyed.Numbers, b: keyed.Numbers) -> keyed.Rows:
    """Returns every pair once, sorted; its key is its hash, so equal pairs fall into the same range wherever they
    are found.
    """
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    new = keyed.is_first(a, b)
    rows = np.empty(int(new.sum()), PAIR)
    rows["a"], rows["b"] = a[new], b[new]
    rows["key"] = scripts.mix(scripts.mix(rows["a"]) ^ rows["b"])
    return rows
