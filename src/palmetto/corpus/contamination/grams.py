"""8-grams of text as 64-bit numbers, made many at a time.

A *unit* is a word, or one character of a script that is written without spaces (Chinese, Japanese, Thai, Lao, Khmer,
Burmese, Tibetan: scripts.py); mixed text has units of both kinds. Text is case-folded and brought to Unicode's form
NFKC, so that full-width and half-width, composed and decomposed are the same. A word is a run of letters, marks and
numbers; everything else (punctuation, symbols, space) separates words and is not compared.

A unit's number is a polynomial in random values of its characters, mixed; a gram's is a sum of its units' numbers, each
times an odd constant of its place, modulo 2^64. Different grams have the same number by chance alone: of n grams that
are looked for in a text of N, about n·N / 2^64 are found by mistake, which is 0.05 of ten million in a terabyte's
10^11; and a single mistake decides nothing where a verdict takes 70 % of an example's grams.
"""

import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from palmetto.corpus.text.rolling import Hashes, Integers, Rolling
from palmetto.corpus.text.scripts import UNSPACED, WORD, characters, codes, mix

LENGTH = 8
"""Units of a gram."""

_PIECE = 1 << 18
"""Characters that are looked at together: their arrays stay in the processor's cache."""
_LONGEST = 2 * _PIECE


def normalized(text: str) -> str:
    """Case-folded, in the form NFKC."""
    folded = text.casefold()
    return folded if folded.isascii() else unicodedata.normalize("NFKC", folded)


def units(texts: Iterable[str]) -> tuple[Hashes, Integers]:
    """The numbers of all units of all texts, and where each text's begin: [texts + 1], the last being their count."""
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
    """Of every `length` units that follow each other: [units - length + 1]."""
    count = max(0, len(numbers) - length + 1)
    total = np.zeros(count, np.uint64)
    term = np.empty(count, np.uint64)
    for place in range(length if count else 0):
        np.multiply(numbers[place : place + count], _PLACES[place], out=term)
        total += term
    return total


def _joined(texts: Iterable[str]) -> Iterator[tuple[str, Integers]]:
    """Pieces of at most _LONGEST normalized characters, and where in each a text ends; long ones are cut at a space."""
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
    """The first place from `position` on that is in no word; of a word beyond all measure, its middle."""
    kinds = characters().flags[codes(text[position : position + _PIECE])]
    outside = np.flatnonzero(kinds & (WORD | UNSPACED) != WORD)
    return position + int(outside[0] if len(outside) else len(kinds))


def _hash_units(text: str) -> tuple[Hashes, Integers]:
    """The numbers of a text's units, and where they begin."""
    tables, of_text = characters(), codes(text)
    kinds = tables.flags[of_text] & (WORD | UNSPACED)
    alone, word = kinds >= UNSPACED, kinds == WORD
    edge = np.zeros(1, np.bool_)
    first = np.flatnonzero(alone | (word & ~np.concatenate([edge, word[:-1]])))
    last = np.flatnonzero(alone | (word & ~np.concatenate([word[1:], edge])))
    return mix(Rolling(tables.hash[of_text]).hash(first, last + 1)), first


_PLACES = mix(np.arange(LENGTH, dtype=np.uint64)) | np.uint64(1)
