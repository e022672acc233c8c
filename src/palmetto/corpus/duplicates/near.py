"""Defines the stage that removes nearly equal documents: prose by shared 5-grams of words, code by edit distance."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from palmetto.corpus.duplicates import bands, candidates, characters, comparing, keyed, shingles, survivor
from palmetto.corpus.duplicates.components import components
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View

_REPEATS = "repeats"


@dataclass(frozen=True)
class NearDuplicates:
    """The stage that drops all but one (survivor.py) of each component of near duplicates.

    Prose and code are never compared with each other. threshold: the Jaccard similarity of the sets of 5-grams of words
    (shingles.py) from which prose is a near duplicate; None to keep it. code: the same for files of the sources
    `code_sources`, by Levenshtein similarity (levenshtein.py). permutations: the length of the signatures.

    The column `duplicate_of` holds the id of the document that stays. Candidates are compared exactly, so every dropped
    document has a near duplicate of at least the threshold; `bands.best_shape` determines how many are missed. The
    stage writes about 300 bytes per document, and 8 bytes for each 5-gram of the candidates. One process holds 16 bytes
    for each pair of near duplicates and about 100 for each document in one; everything else is processed one shard or
    range of keys at a time.
    """

    threshold: float | None
    permutations: int = 128
    code: float | None = None
    code_sources: tuple[str, ...] = ()
    name: str = "near duplicates"

    @property
    def identity(self) -> dict[str, Any]:
        """The parameters, and the versions of the signatures and of Unicode."""
        return {
            "version": 1 if self.code is None else 2,
            "threshold": self.threshold,
            "permutations": self.permutations,
            "code": self.code,
            "code_sources": sorted(self.code_sources),
            "signatures": bands.algorithm(),
            "unicode": shingles.UNICODE,
        }

    @property
    def kinds(self) -> tuple[candidates.Kind, ...]:
        """The kinds of documents, each compared within itself."""
        kinds = []
        if self.threshold is not None:
            kinds.append(candidates.Kind(self.threshold, None, self.code_sources))
        if self.code is not None:
            kinds.append(candidates.Kind(characters.LEAST_JACCARD, self.code, self.code_sources))
        return tuple(kinds)

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Signs the shards, matches ranges of bands, collects candidates by shard, compares ranges of pairs,
        connects them.
        """

        def over_shards(function: Any, *arguments: Any) -> None:
            keyed.run_all(engine, functools.partial(function, view, self.kinds, *arguments, folder), numbered)

        shards, numbered = view.shards, list(enumerate(view.shards))
        keyed.write_shards(folder, shards)
        over_shards(candidates.sign, self.permutations)
        signed = [keyed.shard_file(folder, candidates.BANDS, shard) for shard in shards]
        ranges = keyed.partitions(signed)
        keyed.run_all(engine, functools.partial(candidates.match, signed, shards, folder), ranges)
        over_shards(comparing.collect, [keys.file(folder, candidates.MEMBERS) for keys in ranges])
        pairs = [keys.file(folder, candidates.PAIRS) for keys in ranges]
        ranges = keyed.partitions(pairs)
        compare = functools.partial(comparing.compare, self.kinds, pairs, shards, folder)
        keyed.run_all(engine, compare, ranges)
        _connect([keys.file(folder, comparing.EDGES) for keys in ranges], shards, folder)

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Drops the duplicates and fills `duplicate_of`."""
        place = keyed.shards(folder).index(shard)
        return keyed.notes(len(documents), place, [_repeats(folder)], "near duplicate")


def _repeats(folder: Path) -> Path:
    return folder / f"{_REPEATS}.npy"


def _connect(edges: list[Path], shards: tuple[str, ...], folder: Path) -> None:
    path = _repeats(folder)
    if path.exists():
        return
    found = np.concatenate([np.load(file) for file in edges])
    numbers, groups = components(found["a"], found["b"])
    keyed.write(path, survivor.repeats(survivor.look_up(folder, shards, numbers), groups))
