"""Documents that are nearly the same: prose by the 5-grams of words that they share, code by edits between files."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from palmetto.corpus.duplicates import bands, candidates, characters, comparing, keyed, rule, shingles
from palmetto.corpus.duplicates.components import components
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View

_REPEATS = "repeats"


@dataclass(frozen=True)
class NearDuplicates:
    """Drops all but one (rule.py) of documents that near duplicates connect; prose and code are never compared.

    threshold: the Jaccard similarity of two documents' sets of 5-grams of words (shingles.py) from which prose is near
    duplicate; None: it stays. code: the same of files of the sources `code_sources`, by Levenshtein similarity
    (code.py). permutations: length of the signatures.

    Notes `duplicate_of`: the id of the one that stays. What is found is compared exactly, so what goes has a near
    duplicate of at least the threshold; how many are missed says `bands.best_shape`. While it works it writes some 300
    bytes a document, and the candidates' 5-grams, 8 bytes each. One process holds 16 bytes for each pair of near
    duplicates and some 100 for each document that has one; all else is a shard or a range of keys at a time.
    """

    threshold: float | None
    permutations: int = 128
    code: float | None = None
    code_sources: tuple[str, ...] = ()
    name: str = "near duplicates"

    @property
    def identity(self) -> dict[str, Any]:
        """See `Stage`."""
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
        """What is compared among itself."""
        kinds = []
        if self.threshold is not None:
            kinds.append(candidates.Kind(self.threshold, None, self.code_sources))
        if self.code is not None:
            kinds.append(candidates.Kind(characters.LEAST_JACCARD, self.code, self.code_sources))
        return tuple(kinds)

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Signs shards; matches ranges of bands; collects what candidates are compared by, a shard at a time; compares
        ranges of pairs; connects them all."""

        def over_shards(function: Any, *arguments: Any) -> None:
            keyed.each(engine, functools.partial(function, view, self.kinds, *arguments, folder), numbered)

        shards, numbered = view.shards, list(enumerate(view.shards))
        keyed.write_shards(folder, shards)
        over_shards(candidates.sign, self.permutations)
        signed = [keyed.shard_file(folder, candidates.BANDS, shard) for shard in shards]
        ranges = keyed.partitions(signed)
        keyed.each(engine, functools.partial(candidates.match, signed, shards, folder), ranges)
        over_shards(comparing.collect, [keys.file(folder, candidates.MEMBERS) for keys in ranges])
        pairs = [keys.file(folder, candidates.PAIRS) for keys in ranges]
        ranges = keyed.partitions(pairs)
        compare = functools.partial(comparing.compare, self.kinds, pairs, shards, folder)
        keyed.each(engine, compare, ranges)
        _connect([keys.file(folder, comparing.EDGES) for keys in ranges], shards, folder)

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """See `Stage`."""
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
    keyed.write(path, rule.repeats(rule.look_up(folder, shards, numbers), groups))
