"""Candidates compared: exactly, by their sets of 5-grams, and files of code by their texts as well."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from palmetto.corpus.duplicates import code, keyed, shingles
from palmetto.corpus.duplicates.candidates import MEMBER, PAIR, WORDS, Kind, unique
from palmetto.corpus.duplicates.shingles import Hashes, Places
from palmetto.corpus.stage import View
from palmetto.files import atomic

SETS, EDGES = "sets", "edges"
_OPEN_FILES = 256
_COLLECTED = pa.schema(
    [("number", pa.uint64()), ("set", pa.large_list(pa.uint64())), ("text", pa.large_string())]
)  # text: of code alone


def _file(folder: Path, shard: str) -> Path:
    return folder / SETS / f"{shard}.arrow"


def collect(
    view: View, kinds: Sequence[Kind], members: Sequence[Path], folder: Path, numbered: tuple[int, str]
) -> None:
    """Writes a shard's candidates: their sets of 5-grams, each sorted, and the texts of code."""
    place, shard = numbered
    path = _file(folder, shard)
    if path.exists():
        return
    found = np.unique(keyed.read(members, keyed.numbers_of(place), MEMBER)["key"])
    parts = [_COLLECTED.empty_table()]
    if len(found):
        documents = view.read(shard, ["source", "text"]).take(keyed.rows_of(found))
        for kind in kinds:
            rows = kind.rows(documents)
            start = 0
            for texts in shingles.batches(documents["text"].take(rows).to_pylist()):
                sets = _sets(*shingles.shingles(shingles.words(texts, "folded"), WORDS))
                numbers = found[rows[start : start + len(texts)]]
                parts.append(pa.table([numbers, sets, texts if kind.is_code else [None] * len(texts)], _COLLECTED))
                start += len(texts)
    table = pa.concat_tables(parts).sort_by("number").combine_chunks()
    with atomic(path) as file, pa.ipc.new_file(file, _COLLECTED) as writer:
        writer.write_table(table)


def _sets(hashes: Hashes, ends: Places) -> pa.LargeListArray:
    """Each text's hashes once, sorted."""
    texts = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    order = np.lexsort((hashes, texts))
    hashes, texts = hashes[order], texts[order]
    new = np.concatenate([np.ones(min(len(texts), 1), bool), (hashes[1:] != hashes[:-1]) | (texts[1:] != texts[:-1])])
    offsets = np.searchsorted(texts[new], np.arange(len(ends) + 1))
    return pa.LargeListArray.from_arrays(offsets, hashes[new])


class _Collected(NamedTuple):
    """A shard's candidates, mapped."""

    numbers: keyed.Numbers
    hashes: Hashes
    offsets: Places
    texts: Any

    @classmethod
    def open(cls, path: Path) -> "_Collected":
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().combine_chunks()
        sets = table["set"].chunk(0)
        return cls(table["number"].to_numpy(), sets.values.to_numpy(), sets.offsets.to_numpy(), table["text"])

    def set_of(self, place: int) -> Hashes:
        return self.hashes[self.offsets[place] : self.offsets[place + 1]]


def compare(
    kinds: Sequence[Kind], pairs: Sequence[Path], shards: Sequence[str], folder: Path, keys: keyed.Range
) -> None:
    """Writes those pairs of a range that are near duplicates."""
    path = keys.file(folder, EDGES)
    if path.exists():
        return
    found = keyed.read(pairs, keys, PAIR)
    found = unique(found["a"], found["b"])
    kind_of = {kind.is_code: kind for kind in kinds}

    @functools.lru_cache(_OPEN_FILES)
    def collected(place: int) -> _Collected:
        return _Collected.open(_file(folder, shards[place]))

    def look_up(number: int) -> tuple[_Collected, int]:
        of_shard = collected(number >> 32)
        return of_shard, int(np.searchsorted(of_shard.numbers, np.uint64(number)))

    def alike(a: int, b: int) -> bool:
        (of_a, at_a), (of_b, at_b) = look_up(a), look_up(b)
        text = of_a.texts[at_a].as_py()
        kind = kind_of[text is not None]
        if not _jaccard_reaches(of_a.set_of(at_a), of_b.set_of(at_b), kind.jaccard):
            return False
        return kind.levenshtein is None or code.similar(text, of_b.texts[at_b].as_py(), kind.levenshtein)

    kept = [alike(a, b) for a, b in zip(found["a"].tolist(), found["b"].tolist(), strict=True)]
    keyed.write(path, found[np.array(kept, bool)])


def _jaccard_reaches(a: Hashes, b: Hashes, least: float) -> bool:
    """Whether |a ∩ b| / |a ∪ b| is at least `least`, of sorted sets."""
    if min(len(a), len(b)) < least * max(len(a), len(b)):
        return False
    both = np.concatenate([a, b])
    both.sort(kind="stable")  # two runs: merged
    common = int((both[1:] == both[:-1]).sum())
    return common >= least * (len(a) + len(b) - common)
