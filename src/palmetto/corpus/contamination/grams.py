"""Hashes the 8-grams of texts to 64-bit numbers, many at a time.

A *unit* is a word, or one character of a script that is written without spaces (Chinese, Japanese, Thai, Lao, Khmer,
Burmese, Tibetan: scripts.py). Text is case-folded and normalized to NFKC, so full-width and half-width, composed and
decomposed characters are equal. A word is a run of letters, marks and numbers. Everything else (punctuation, symbols,
spaces) separates words and is not compared.

The hash of a unit is a polynomial in random values of its characters, mixed. The hash of a gram is the sum modulo 2^64
of its units' hashes, each times an odd constant of its place. Distinct grams collide only by chance: searching a text
of N grams for n grams gives about n·N / 2^64 false matches, 0.05 for ten million grams in the 10^11 of a terabyte. A
single false match decides nothing, since a verdict takes 70 % of an example's grams.
"""

import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from palmetto.corpus.text.rolling import Hashes, Integers, Rolling
from palmetto.corpus.text.scripts import UNSPACED, WORD, characters, codes, mix

LENGTH = 8
"""The number of units in a gram."""

_PIECE = 1 << 18
"""The number of characters processed at once, so that their arrays fit in the processor's cache."""
_LONGEST = 2 * _PIECE


def normalized(text: str) -> str:
    """Returns the text case-folded and in NFKC."""
    folded = text.casefold()
    return folded if folded.isascii() else unicodedata.normalize("NFKC", folded)


def units(texts: Iterable[str]) -> tuple[Hashes, Integers]:
    """Returns the hashes of all units of all texts, and the index [texts + 1] at which each text's units begin.

    The last index is the number of units.
    """
    parts: list[Hashes] = []
    starts: list[Integers] = []
    before = 0
    for joined, ends in _joined(texts):
        numbers, places = _hash_units(joined)
        starts.append(before + np.searchsorted(places, ends))
        parts.append(numbers)
        before += len(numbers)
    beginnings = np.concatenate([np.zeros(1, np.int64), *starts])
    return np.concatenate([np.zeros(0, np.uint64), *parts]), beginnings


def grams(numbers: Hashes, length: int) -> Hashes:
    """Returns the hashes of all runs of `length` consecutive units, shape [units - length + 1]."""
    count = max(0, len(numbers) - length + 1)
    total = np.zeros(count, np.uint64)
    term = np.empty(count, np.uint64)
    for place in range(length if count else 0):
        np.multiply(numbers[place : place + count], _PLACES[place], out=term)
        total += term
    return total


def _joined(texts: Iterable[str]) -> Iterator[tuple[str, Integers]]:
    """Yields pieces of at most _LONGEST normalized characters with the positions at which texts end in them.

    A long text is cut between words.
    """
    parts: list[str] = []
    ends: list[int] = []
    size = 0
    for given in texts:
        text, position = normalized(given), 0
        while size + len(text) - position >= _LONGEST:
            cut = _word_end(text, position + max(1, _PIECE - size))
            yield "".join([*parts, text[position:cut]]), np.array(ends, np.int64)
            parts, ends, size, position = [], [], 0, cut
        parts += [text[position:], "\n"]
        size += len(text) - position + 1
        ends.append(size)
        if size >= _PIECE:
            yield "".join(parts), np.array(ends, np.int64)
            parts, ends, size = [], [], 0
    yield "".join(parts), np.array(ends, np.int64)


def _word_end(text: str, position: int) -> int:
    """Returns the first position from `position` on that is outside words, or _PIECE further if the word is longer."""
    kinds = characters().flags[codes(text[position : position + _PIECE])]
    outside = np.flatnonzero(kinds & (WORD | UNSPACED) != WORD)
    return position + int(outside[0] if len(outside) else len(kinds))


def _hash_units(text: str) -> tuple[Hashes, Integers]:
    """Returns the hashes of a text's units, and where they begin."""
    tables, of_text = characters(), codes(text)
    kinds = tables.flags[of_text] & (WORD | UNSPACED)
    alone, word = kinds >= UNSPACED, kinds == WORD
    edge = np.zeros(1, np.bool_)
    first = np.flatnonzero(alone | (word & ~np.concatenate([edge, word[:-1]])))
    last = np.flatnonzero(alone | (word & ~np.concatenate([word[1:], edge])))
    return mix(Rolling(tables.hash[of_text]).hash(first, last + 1)), first


_PLACES = mix(np.arange(LENGTH, dtype=np.uint64)) | np.uint64(1)
