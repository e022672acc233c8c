"""Compares candidate pairs exactly, by their sets of 5-grams, and files of code by their texts too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from palmetto.corpus.duplicates import characters, keyed, levenshtein, shingles
from palmetto.corpus.duplicates.candidates import MEMBER, PAIR, WORDS, Kind, unique
from palmetto.corpus.duplicates.mapped import Mapped
from palmetto.corpus.duplicates.shingles import Places
from palmetto.corpus.stage import View
from palmetto.corpus.text.rolling import Hashes

EDGES = "edges"
_SETS = "sets"
_COLLECTED = pa.schema([("number", pa.uint64()), ("set", pa.large_list(pa.uint64())), ("text", pa.large_string())])
"""The columns of collected candidates; only code has a text."""


def collect(
    view: View, kinds: Sequence[Kind], members: Sequence[Path], folder: Path, numbered: tuple[int, str]
) -> None:
    """Writes the sets of 5-grams, each sorted, of a shard's candidates, and the texts of code."""
    place, shard = numbered
    mapped = Mapped(folder / _SETS, view.shards)
    if mapped.path(place).exists():
        return
    found = np.unique(keyed.read(members, keyed.numbers_of(place), MEMBER)["key"])
    parts = [_COLLECTED.empty_table()]
    if len(found):
        documents = view.read(shard, ["source", "text"]).take(keyed.rows_of(found))
        for kind in kinds:
            rows = kind.rows(documents)
            if kind.levenshtein is not None:
                parts.append(_code(documents["text"].take(rows), found[rows], kind.levenshtein))
                continue
            start = 0
            for texts in shingles.batches(documents["text"].take(rows).to_pylist()):
                sets = _sets(*shingles.shingles(shingles.words(texts, "folded"), WORDS))
                numbers = found[rows[start : start + len(texts)]]
                parts.append(pa.table([numbers, sets, pa.nulls(len(texts), pa.large_string())], _COLLECTED))
                start += len(texts)
    mapped.write(place, pa.concat_tables(parts))


def _code(texts: pa.ChunkedArray, numbers: keyed.Numbers, least: float) -> pa.Table:
    """Returns the grams of files of code that their own classes keep, and their texts."""
    sets = []
    for text in texts.to_pylist():
        sets.append(characters.kept(characters.grams(text), characters.classes(text, least)[0]))
    offsets = np.cumsum([0, *map(len, sets)])
    values = pa.LargeListArray.from_arrays(offsets, np.concatenate([np.empty(0, np.uint64), *sets]))
    return pa.table([numbers, values, texts.combine_chunks()], _COLLECTED)


def _sets(hashes: Hashes, ends: Places) -> pa.LargeListArray:
    """Returns each text's distinct hashes, sorted."""
    ordered = map(np.sort, np.split(hashes, ends[:-1]))
    sets = [part[keyed.is_first(part)] for part in ordered]
    offsets = np.cumsum([0, *map(len, sets)])
    return pa.LargeListArray.from_arrays(offsets, np.concatenate(sets))


def compare(
    kinds: Sequence[Kind], pairs: Sequence[Path], shards: Sequence[str], folder: Path, keys: keyed.Range
) -> None:
    """Writes the pairs of a range that are near duplicates."""
    path = keys.file(folder, EDGES)
    if path.exists():
        return
    found = keyed.read(pairs, keys, PAIR)
    found = unique(found["a"], found["b"])
    collected = Mapped(folder / _SETS, shards)
    kind_of = {kind.is_code: kind for kind in kinds}

    def alike(a: int, b: int) -> bool:
        text = collected.find(a, "text").as_py()
        kind = kind_of[text is not None]
        set_a, set_b = (collected.find(number, "set").values.to_numpy() for number in (a, b))
        if kind.levenshtein is None:
            return _jaccard_reaches(set_a, set_b, kind.jaccard)
        other = collected.find(b, "text").as_py()
        # The shorter file's class keeps every hash that the longer file's class keeps.
        of = characters.classes(max(text, other, key=len), kind.levenshtein)[0]
        if not _jaccard_reaches(characters.kept(set_a, of), characters.kept(set_b, of), kind.jaccard):
            return False
        return levenshtein.similar(text, other, kind.levenshtein)

    kept = [alike(a, b) for a, b in zip(found["a"].tolist(), found["b"].tolist(), strict=True)]
    keyed.write(path, found[np.array(kept, bool)])


def _jaccard_reaches(a: Hashes, b: Hashes, least: float) -> bool:
    """Returns whether |a ∩ b| / |a ∪ b| of two sorted sets is at least `least`."""
    if min(len(a), len(b)) < least * max(len(a), len(b)):
        return False
    both = np.sort(np.concatenate([a, b]))
    common = int((both[1:] == both[:-1]).sum())
    return common >= least * (len(a) + len(b) - common)
