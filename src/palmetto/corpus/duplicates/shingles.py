"""Hashes the words of many texts, and n words in a row (shingles), without a loop over words.

A word is a run of letters, digits and marks; in scripts without spaces (Han, Kana, Thai, Lao, Khmer, Burmese, Tibetan)
each character is one. The hash of a word is a polynomial in an odd base modulo 2^64. It is computed from prefix sums
over all characters, so every step is one array operation (Karp, Rabin, 1987).
"""

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.corpus.text import scripts
from palmetto.corpus.text.rolling import BASE, Hashes, Rolling

Places = npt.NDArray[np.int64]
Reading = Literal["folded", "verbatim"]
"""The way to read words: "folded" in NFC without case and punctuation; "verbatim" as everything between white space."""

UNICODE = unicodedata.unidata_version
"""The version of Unicode, which decides what a letter is and so belongs to the identity of stages that read words."""

_BLOCK = 1 << 16
"""The number of characters processed at once, so that their arrays fit in the processor's cache."""
_SEPARATOR, _SPACED, _UNSPACED = 0, 1, 2


class Words(NamedTuple):
    """The words of several texts, one text after another; those of text i are [ends[i - 1], ends[i])."""

    hashes: Hashes
    ends: Places
    starts: Places
    """The position of each word's first character in its text (for folded words, after NFC)."""
    stops: Places
    """The position after each word's last character."""


def words(texts: Sequence[str], reading: Reading) -> Words:
    """Returns the words of texts.

    Texts of more than 2^16 characters are read in pieces; a word longer than half a piece may be cut.
    """
    counts = np.zeros(len(texts), np.int64)
    found: list[tuple[npt.NDArray[Any], ...]] = [(np.empty(0, np.uint64), *[np.empty(0, np.int64)] * 2)]
    for pieces in _blocks(texts, reading):
        block = "\n".join(piece.text for piece in pieces)
        hashes, starts, stops = _block_words(block, reading)
        begins = np.cumsum([0, *(len(piece.text) + 1 for piece in pieces)])
        numbers = np.diff(np.searchsorted(starts, begins))
        np.add.at(counts, [piece.owner for piece in pieces], numbers)
        shifts = np.repeat(np.array([piece.start for piece in pieces]) - begins[:-1], numbers)
        found.append((hashes, starts + shifts, stops + shifts))
    hashes, starts, stops = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Words(hashes, np.cumsum(counts), starts, stops)


def shingles(found: Words, size: int) -> tuple[Hashes, Places]:
    """Returns the hashes of every `size` words in a row, and the index at which those of each text end.

    A shorter text has one hash, of all its words; a text without words has none. All bits of a hash are equally random.
    """
    counts = np.diff(found.ends, prepend=0)
    firsts = found.ends - counts
    numbers = np.where(counts >= size, counts - size + 1, np.minimum(counts, 1))
    ends = np.cumsum(numbers)
    total = np.zeros(len(found.hashes), np.uint64)
    in_a_row = _in_a_row(found.hashes, size)
    total[: len(in_a_row)] = in_a_row
    short = np.flatnonzero((counts > 0) & (counts < size))
    total[firsts[short]] = 0
    for place in range(size):
        longer = short[counts[short] > place]
        total[firsts[longer]] = total[firsts[longer]] * np.uint64(BASE) + found.hashes[firsts[longer] + place]
    inside = np.repeat(firsts - (ends - numbers), numbers) + np.arange(len(total) and ends[-1])
    return scripts.mix(total[inside]), ends


def windows(found: Words, size: int) -> tuple[Hashes, Places, Places]:
    """Returns, for every `size` words in a row within a text, their hash, the text, and the index of the first word."""
    counts = np.maximum(np.diff(found.ends, prepend=0) - size + 1, 0)
    texts = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(texts)) - np.repeat(np.cumsum(counts) - counts, counts)
    firsts = np.concatenate([[0], found.ends[:-1]])
    return scripts.mix(_in_a_row(found.hashes, size)[firsts[texts] + places]), texts, places


def _in_a_row(hashes: Hashes, size: int) -> Hashes:
    """Returns the polynomial of every `size` hashes in a row, across texts, by doubling."""
    if len(hashes) < size:
        return np.empty(0, np.uint64)
    if size == 1:
        return hashes
    half = _in_a_row(hashes, size // 2)
    both = half[: len(half) - size // 2] * np.uint64(pow(BASE, size // 2, 1 << 64)) + half[size // 2 :]
    return both if size % 2 == 0 else both[:-1] * np.uint64(BASE) + hashes[size - 1 :]


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yields the texts in order, about a quarter of a million characters at a time; a longer text comes alone."""
    first, size = 0, 0
    for place, text in enumerate(texts):
        if size and size + len(text) > 4 * _BLOCK:
            yield texts[first:place]
            first, size = place, 0
        size += len(text)
    if first < len(texts):
        yield texts[first:]


class _Piece(NamedTuple):
    """A piece of text `owner` that begins at its character `start`."""

    owner: int
    start: int
    text: str


def _blocks(texts: Sequence[str], reading: Reading) -> Iterator[list[_Piece]]:
    """Yields lists of pieces, each of about one block in all."""
    block: list[_Piece] = []
    size = 0
    for owner, text in enumerate(texts):
        whole = text if reading == "verbatim" or text.isascii() else unicodedata.normalize("NFC", text)
        for start, piece in _cut(whole):
            if block and size + len(piece) >= _BLOCK:
                yield block
                block, size = [], 0
            block.append(_Piece(owner, start, piece))
            size += len(piece) + 1
    if block:
        yield block


def _cut(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while len(text) - start > _BLOCK:
        space = max(text.rfind(white, start + _BLOCK // 2, start + _BLOCK) for white in " \n")
        end = space if space > 0 else start + _BLOCK
        yield start, text[start:end]
        start = end
    yield start, text[start:]


def _block_words(block: str, reading: Reading) -> tuple[Hashes, Places, Places]:
    """Returns the hashes, first characters and ends of the words."""
    kinds_of, values_of = _tables(reading)
    if block.isascii():
        codes: npt.NDArray[Any] = np.frombuffer(block.encode(), np.uint8)
    else:
        codes = scripts.codes(block)
    kinds = kinds_of[codes]
    # A word is a run of one kind; a character of an unspaced script is a run by itself.
    new = np.empty(len(kinds) + 1, bool)
    new[:1] = new[-1:] = True
    np.not_equal(kinds[1:], kinds[:-1], out=new[1:-1])
    if len(kinds) and kinds.max() == _UNSPACED:
        new[:-1] |= kinds == _UNSPACED
    edges = np.flatnonzero(new)
    is_word = kinds[edges[:-1]] != _SEPARATOR
    starts, stops = edges[:-1][is_word], edges[1:][is_word]
    return Rolling(values_of[codes]).hash(starts, stops), starts, stops


@functools.cache
def _tables(reading: Reading) -> tuple[npt.NDArray[np.uint8], Hashes]:
    """Returns, for every character, its kind and a random number that stands for it."""
    characters = scripts.characters()
    if reading == "verbatim":
        spaced, values = characters.flags & scripts.SPACE == 0, scripts.mix(np.arange(0x110000, dtype=np.uint64))
    else:
        spaced, values = characters.flags & scripts.WORD > 0, characters.hash
    kinds = np.where(spaced, _SPACED, _SEPARATOR).astype(np.uint8)
    kinds[characters.flags & scripts.UNSPACED > 0] = _UNSPACED
    return kinds, values
