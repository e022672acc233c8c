"""Defines the stage that removes passages that occur more than once, within a document or across documents."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from palmetto.corpus import tables
from palmetto.corpus.duplicates import keyed, shingles, survivor
from palmetto.corpus.duplicates.mapped import Mapped
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View

_WINDOWS, _REPEATS, _FIRSTS, _TEXTS = "windows", "repeats", "firsts", "texts"
_WINDOW = np.dtype([("key", "<u8"), ("number", "<u8"), ("place", "<u4")])
_REPEAT = np.dtype([("key", "<u8"), ("place", "<u4"), ("first", "<u8"), ("first_place", "<u4")])
_FIRST = np.dtype([("key", "<u8")])
_KEPT = 8
_TEXT = pa.schema([("number", pa.uint64()), ("text", pa.large_string())])


@dataclass(frozen=True)
class RepeatedSpans:
    """The stage that cuts passages of at least `span` words that occur in a document of smaller id, or earlier in the
    same.

    A word is everything between white space, unchanged, or one character of a script without spaces. The first
    occurrence of a passage always stays, so whatever is cut can be read elsewhere: each cut word is within `span`
    consecutive words that stay there. Hashes only find candidates; a passage is cut if its text is equal except for
    white space. A document with no word left is dropped.

    The stage writes 20 bytes per word of the corpus and the texts with first occurrences; it holds one shard or one
    range of hashes in memory.
    """

    span: int
    name: str = "repeated spans"

    @property
    def identity(self) -> dict[str, Any]:
        """The span, and the versions of the stage and of Unicode."""
        return {"version": 1, "span": self.span, "unicode": shingles.UNICODE}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Hashes the windows of every shard, finds equal ones by range of hashes, and collects the texts of first
        occurrences.
        """
        keyed.write_shards(folder, view.shards)
        numbered = list(enumerate(view.shards))
        keyed.run_all(engine, functools.partial(_hash, view, self.span, folder), numbered)
        files = [keyed.shard_file(folder, _WINDOWS, shard) for shard in view.shards]
        ranges = keyed.partitions(files)
        keyed.run_all(engine, functools.partial(_match, files, view.shards, folder), ranges)
        firsts = [keys.file(folder, _FIRSTS) for keys in ranges]
        keyed.run_all(engine, functools.partial(_collect, view, firsts, folder), numbered)

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Cuts the repeated passages of each document."""
        shards = keyed.shards(folder)
        place, firsts = shards.index(shard), _Firsts(folder, shards)
        repeats = keyed.read((folder / _REPEATS).glob("*.npy"), keyed.numbers_of(place), _REPEAT)
        repeats = repeats[np.lexsort((repeats["place"], repeats["key"]))]
        dropped: list[str | None] = [None] * len(documents)
        edits: list[list[dict[str, Any]] | None] = [None] * len(documents)
        bounds = np.flatnonzero(np.diff(repeats["key"])) + 1
        for part in np.split(repeats, bounds) if len(repeats) else ():
            number = int(part["key"][0])
            row = number & 0xFFFFFFFF
            cuts = _cuts(documents["text"][row].as_py(), number, part, self.span, firsts)
            if cuts is None:
                dropped[row] = self.name
            else:
                edits[row] = cuts or None
        return pa.table({"dropped": pa.array(dropped, pa.string()), "edits": pa.array(edits, tables.EDITS)})


def _hash(view: View, span: int, folder: Path, numbered: tuple[int, str]) -> None:
    place, shard = numbered
    path = keyed.shard_file(folder, _WINDOWS, shard)
    if path.exists():
        return
    documents = view.read(shard, ["id", "text"])
    survivor.write(folder, shard, documents, place)
    parts = [np.empty(0, _WINDOW)]
    start = 0
    for texts in shingles.batches(documents["text"].to_pylist()):
        hashes, of, places = shingles.windows(shingles.words(texts, "verbatim"), span)
        part = np.empty(len(hashes), _WINDOW)
        part["key"], part["number"], part["place"] = hashes, keyed.numbers(place, of + start), places
        parts.append(part)
        start += len(texts)
    keyed.write(path, np.concatenate(parts))


def _match(files: list[Path], shards: tuple[str, ...], folder: Path, keys: keyed.Range) -> None:
    """Writes every window that occurs more than once with its first occurrence, and the documents of those."""
    repeats, firsts = keys.file(folder, _REPEATS), keys.file(folder, _FIRSTS)
    if repeats.exists() and firsts.exists():
        return
    rows = keyed.read(files, keys, _WINDOW)
    rows = rows[np.argsort(rows["key"], kind="stable")]
    rows = rows[keyed.is_repeated(rows["key"])]
    numbers, inverse = np.unique(rows["number"], return_inverse=True)
    rank = np.argsort(np.argsort(survivor.look_up(folder, shards, numbers)["id"]))
    rows = rows[np.lexsort((rows["place"], rank[inverse], rows["key"]))]
    first = rows[keyed.group_starts(keyed.is_first(rows["key"]))]
    found = np.empty(len(rows), _REPEAT)
    found["key"], found["place"] = rows["number"], rows["place"]
    found["first"], found["first_place"] = first["number"], first["place"]
    keyed.write(repeats, found)
    keyed.write(firsts, np.unique(first["number"]).view(_FIRST))


def _collect(view: View, firsts: list[Path], folder: Path, numbered: tuple[int, str]) -> None:
    place, shard = numbered
    mapped = Mapped(folder / _TEXTS, view.shards)
    if mapped.path(place).exists():
        return
    numbers = np.unique(keyed.read(firsts, keyed.numbers_of(place), _FIRST)["key"])
    texts = view.read(shard, ["text"])["text"].take(keyed.rows_of(numbers)) if len(numbers) else []
    mapped.write(place, pa.table([numbers, texts], _TEXT))


class _Run(NamedTuple):
    """Consecutive windows whose first occurrences are consecutive too: one passage."""

    place: int
    windows: int
    first: int
    first_place: int


def _runs(repeats: keyed.Rows) -> Iterator[_Run]:
    """Yields the passages of one document. repeats: its windows, sorted by place."""
    steps = [np.diff(repeats[name].astype(np.int64)) for name in ("place", "first_place", "first")]
    new = (steps[0] != 1) | (steps[1] != 1) | (steps[2] != 0)
    for part in np.split(repeats, np.flatnonzero(new) + 1):
        yield _Run(int(part["place"][0]), len(part), int(part["first"][0]), int(part["first_place"][0]))


class _Firsts:
    """Looks up texts with first occurrences and their words; a few are cached, because passages cluster."""

    def __init__(self, folder: Path, shards: Sequence[str]) -> None:
        self._texts = Mapped(folder / _TEXTS, shards)
        self._read = functools.lru_cache(_KEPT)(self._look_up)

    def passage(self, run: _Run, span: int) -> str:
        text, found = self._read(run.first)
        return _passage(text, found, slice(run.first_place, run.first_place + run.windows - 1 + span))

    def _look_up(self, number: int) -> tuple[str, shingles.Words]:
        text = self._texts.find(number, "text").as_py()
        return text, shingles.words([text], "verbatim")


def _cuts(text: str, number: int, repeats: keyed.Rows, span: int, firsts: _Firsts) -> list[dict[str, Any]] | None:
    """Returns the edits of a document, or None if no word is left. repeats: its windows that occur more than once."""
    found = shingles.words([text], "verbatim")
    stays, goes = np.zeros(len(found.hashes), bool), np.zeros(len(found.hashes), bool)
    for run in _runs(repeats):
        words = slice(run.place, run.place + run.windows - 1 + span)
        if (run.first, run.first_place) == (number, run.place):
            stays[words] = True
        elif _passage(text, found, words) == firsts.passage(run, span):
            goes[words] = True
    goes &= ~stays
    if goes.all():
        return None
    bounds = np.flatnonzero(np.diff(goes, prepend=False, append=False)).reshape(-1, 2)
    starts = np.append(found.starts, len(text))
    return [_cut(text, int(starts[first]), int(starts[after])) for first, after in bounds]


def _passage(text: str, found: shingles.Words, words: slice) -> str:
    """Returns the given words as one string without white space."""
    return "".join(text[found.starts[words][0] : found.stops[words][-1]].split())


def _cut(text: str, start: int, end: int) -> dict[str, Any]:
    """Returns an edit that removes [start, end) and keeps the words on both sides apart."""
    seam = text[max(start - 1, 0) : start] + text[end : end + 1]
    joined = len(seam) == 2 and seam.split() == [seam] and len(shingles.words([seam], "verbatim").hashes) == 1
    return {"start": start, "end": end, "text": " " if joined else ""}
