"""Files of code as sets of 5-grams of characters, by which those that a few scattered edits part are found.

One edit in ten characters leaves no two words in a row of many lines, but half of all 5 characters in a row. Only files
of nearly the same length can be so similar, so that they are looked for within classes of length: two files whose
lengths differ by no more than the similarity allows have a class in common. A class keeps of each file the grams with
the smallest hashes, about 512 whatever its length.
"""

import math
from typing import NamedTuple

import numpy as np

from palmetto.corpus.duplicates.bands import Shape
from palmetto.corpus.text import scripts
from palmetto.corpus.text.rolling import Hashes

GRAM = 5
SHAPE = Shape(160, 3)
"""Of pairs at a Jaccard similarity of 0.32, 99 % have a band in common, and 94 % at 0.26. So much was left in 95 % of
60 files of Python's library after edits of a tenth of their characters, at random places or evenly spread."""
LEAST_JACCARD = 0.1
"""Pairs of less are not compared by their texts. The least that a tenth of edits left was 0.2, in 60 files."""
_KEPT = 512


class Class(NamedTuple):
    """Of lengths, and the largest hash that its files keep."""

    number: int
    largest: int


def classes(text: str, least: float) -> tuple[Class, Class]:
    """The two classes of a text, for a similarity of at least `least`; the smaller one is its own."""
    ratio = 1 / max(least, 0.5)
    number = int(math.log(max(len(text), 1)) / math.log(ratio)) if ratio > 1 else len(text)
    return _class(number, ratio), _class(number + 1, ratio)


def _class(number: int, ratio: float) -> Class:
    length = ratio**number if ratio > 1 else number
    return Class(number, min(int(_KEPT / max(length, 1) * 2**64), 2**64 - 1))


def grams(text: str) -> Hashes:
    """The hashes of all its 5-grams once, ascending; of a shorter text that of the whole."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    size = min(GRAM, len(codes))
    hashes = np.zeros(len(codes) - size + 1 if size else 0, np.uint64)
    for place in range(size):
        hashes = scripts.mix(hashes ^ codes[place : place + len(hashes)])
    return np.unique(hashes)


def kept(hashes: Hashes, of: Class) -> Hashes:
    """Returns those of sorted hashes that a class keeps."""
    return hashes[: int(np.searchsorted(hashes, np.uint64(of.largest), "right"))]
