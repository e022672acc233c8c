"""Indexes the grams of evaluation sets, each with the parts of examples that contain it.

A part is the question, the prompt or the target of an example. It is judged by the share of its distinct 8-grams that
occur in the text. A part of fewer than eight units occurs if all of it does, and is judged only if it is the longest
part of its example: the target "yes" occurs in every corpus and says nothing beside a question of twenty words.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from palmetto.corpus.contamination.examples import PARTS, Example
from palmetto.corpus.contamination.grams import LENGTH, grams, units
from palmetto.corpus.text.rolling import Hashes, Integers
from palmetto.files import atomic

TENTHS = 7
"""The share of a part's grams, in tenths, from which the part counts as seen: 70 %."""
_BLOCK = 1 << 16
_ARRAYS = ("hashes", "lengths", "offsets", "parts", "sizes", "needs")


@dataclass(frozen=True, eq=False)
class Index:
    """Grams in the order of their hashes, and the parts that contain them.

    hashes: uint64 [grams], sorted. lengths: [grams], the units of each. offsets, parts: gram g is in
    parts[offsets[g]:offsets[g + 1]]; part 3·i + j is PARTS[j] of example i. sizes: [parts], the number of distinct
    grams of each; 0 if it is not judged. needs: [grams], the smallest number of seen grams that makes a part with this
    gram seen.
    """

    hashes: Hashes
    lengths: npt.NDArray[np.uint8]
    offsets: Integers
    parts: Integers
    sizes: Integers
    needs: Integers

    @functools.cached_property
    def _filters(self) -> list[tuple[int, npt.NDArray[np.bool_], np.uint64]]:
        """Returns for each length of gram a table of the leading bits that occur among the hashes, and the shift that
        extracts them.

        A table has eight to sixteen times as many entries as there are grams, so it rejects most other hashes at once,
        and is small enough for the processor's cache.
        """
        filters = []
        for length in np.unique(self.lengths).tolist():
            hashes = self.hashes[self.lengths == length]
            exponent = max(18, len(hashes).bit_length() + 3)
            shift = np.uint64(64 - exponent)
            present = np.zeros(1 << exponent, np.bool_)
            present[hashes >> shift] = True
            filters.append((length, present, shift))
        return filters

    def find(self, texts: Iterable[str]) -> tuple[Integers, Integers]:
        """Returns the grams that occur in each text: arrays (text, gram), sorted, each pair once."""
        numbers, starts = units(texts)
        places, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for first in range(0, len(numbers), _BLOCK):
            for length, present, shift in self._filters:
                hashes = grams(numbers[first : first + _BLOCK + length - 1], length)
                likely = np.flatnonzero(present[(hashes >> shift).view(np.int64)])
                at, which = self._known(hashes[likely])
                at = likely[at] + first
                row = np.searchsorted(starts, at, side="right") - 1
                inside = at + length <= starts[row + 1]
                places.append(row[inside])
                found.append(which[inside])
        count = max(1, len(self.hashes))
        rows, which = np.divmod(np.unique(np.concatenate(places) * count + np.concatenate(found)), count)
        return rows, which

    def _known(self, hashes: Hashes) -> tuple[Integers, Integers]:
        """Returns the positions of known hashes among those given, and their grams."""
        which = np.searchsorted(self.hashes, hashes)
        ours = np.flatnonzero(self.hashes[np.minimum(which, len(self.hashes) - 1)] == hashes)
        return ours, which[ours]

    def counts(self, seen: npt.NDArray[np.bool_]) -> Integers:
        """Returns the number of seen grams of each part, shape [parts]."""
        of_parts = np.repeat(seen, np.diff(self.offsets))
        return np.bincount(self.parts[of_parts], minlength=len(self.sizes))

    def enough(self, counts: Integers, parts: Integers | slice = slice(None)) -> npt.NDArray[np.bool_]:
        """Returns whether the given numbers of seen grams make their parts seen."""
        sizes = self.sizes[parts]
        return (sizes > 0) & (10 * counts >= TENTHS * sizes)

    def held(self, rows: Integers, which: Integers) -> dict[int, list[int]]:
        """Returns, by row of the text, the examples of which that text alone contains a part. rows, which: from
        `find`.
        """
        held: dict[int, list[int]] = {}
        if not len(rows):
            return held
        texts, firsts, numbers = np.unique(rows, return_index=True, return_counts=True)
        likely = numbers >= np.minimum.reduceat(self.needs[which], firsts)
        for text, first, number in zip(texts[likely], firsts[likely], numbers[likely], strict=True):
            mine = which[first : first + number]
            parts, counts = np.unique(_ranges(self.parts, self.offsets, mine), return_counts=True)
            examples = np.unique(parts[self.enough(counts, parts)] // len(PARTS))
            if len(examples):
                held[int(text)] = examples.tolist()
        return held

    def write(self, folder: Path) -> None:
        """Writes the arrays for `load`."""
        for name in _ARRAYS:
            with atomic(folder / f"{name}.npy") as file:
                np.save(file, getattr(self, name))


@functools.lru_cache(maxsize=1)
def load(folder: Path) -> Index:
    """Maps what `Index.write` wrote into memory; all processes of a machine share the pages."""
    return Index(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS))


def build(examples: Iterable[Example]) -> Index:
    """Builds the index of all examples; uses about 100 bytes of memory per word."""
    numbers, starts = units(text for e in examples for text in (e.question, e.prompt, e.target))
    lengths = np.diff(starts)
    longest = np.repeat(lengths.reshape(-1, len(PARTS)).max(axis=1), len(PARTS))
    judged = (lengths >= LENGTH) | ((lengths == longest) & (lengths > 0))
    hashes, parts, units_each = [], [], []
    for length in range(1, LENGTH + 1):
        of_length = grams(numbers, length)
        owner = np.repeat(np.arange(len(lengths)), lengths)[: len(of_length)]
        wanted = judged & (lengths >= length if length == LENGTH else lengths == length)
        inside = wanted[owner] & (np.arange(len(of_length)) + length <= starts[owner + 1])
        hashes.append(of_length[inside])
        parts.append(owner[inside])
        units_each.append(np.full(len(parts[-1]), length, np.uint8))
    distinct, first, which = np.unique(np.concatenate(hashes), return_index=True, return_inverse=True)
    count = max(1, len(lengths))
    which, of_part = np.divmod(np.unique(which.astype(np.int64) * count + np.concatenate(parts)), count)
    offsets = np.searchsorted(which, np.arange(len(distinct) + 1))
    sizes = np.bincount(of_part, minlength=len(lengths))
    needed = -(-TENTHS * sizes[of_part] // 10)
    needs = np.minimum.reduceat(needed, offsets[:-1]) if len(distinct) else needed
    return Index(distinct, np.concatenate(units_each)[first], offsets, of_part, sizes, needs)


def _ranges(values: Integers, offsets: Integers, which: Integers) -> Integers:
    """Returns values[offsets[i]:offsets[i + 1]] of every i, concatenated."""
    firsts, numbers = offsets[which], offsets[which + 1] - offsets[which]
    ends = np.cumsum(numbers)
    return values[np.arange(ends[-1]) + np.repeat(firsts - (ends - numbers), numbers)]
