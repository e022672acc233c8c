"""Measures how much of a text repeats: lines, paragraphs and n-grams (Gopher, arXiv 2112.11446, table A1).

A repeated n-gram begins with a repeated (n - 1)-gram, so each length only examines what the previous one found.
"""

import numpy as np

from palmetto.corpus.text import scripts
from palmetto.corpus.text.rolling import Hashes
from palmetto.corpus.text.words import Bools, Floats, Integers, Spans, Texts, Tokens

_MOST = 1 << 20
"""The number of words of a text that are compared; later ones are ignored."""
TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)


def _grouped(hashes: Hashes, texts: Integers, places: Integers) -> tuple[Integers, Bools]:
    """Returns the places sorted by text, hash and place, and where a new text or hash begins.

    Places are below 2^20, texts below 2^12; 32 bits of the hash are compared, within one text.
    """
    keys = (
        texts.astype(np.uint64) << np.uint64(52) | hashes >> np.uint64(32) << np.uint64(20) | places.astype(np.uint64)
    )
    keys.sort()
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] >> np.uint64(20) != keys[:-1] >> np.uint64(20)
    return (keys & np.uint64(_MOST - 1)).astype(np.int64), new


def repeated(texts: Texts, spans: Spans) -> tuple[Floats, Floats]:
    """Returns the share of each text's spans that occur earlier in it, and their share of its characters."""
    spans = spans.of(np.arange(len(spans)) < _MOST)
    places, new = _grouped(texts.hash(spans.starts, spans.ends), spans.texts, np.arange(len(spans)))
    again = places[~new]
    count = np.bincount(spans.texts[again], minlength=len(texts))
    characters = np.bincount(spans.texts[again], (spans.ends - spans.starts)[again], len(texts))
    total = np.bincount(spans.texts, minlength=len(texts))
    return count / np.maximum(total, 1), characters / _sizes(texts)


def _sizes(texts: Texts) -> Integers:
    """Returns the number of characters of each text, at least 1."""
    return np.maximum(np.diff(texts.bounds) - 1, 1)


def paragraphs(texts: Texts, lines: Spans) -> Spans:
    """Returns runs of lines without a blank line between them."""
    breaks = np.cumsum(texts.codes == 10)
    new = np.ones(len(lines), bool)
    new[1:] = (breaks[lines.starts[1:]] - breaks[lines.starts[:-1]] > 1) | (lines.texts[1:] != lines.texts[:-1])
    last = np.append(new[1:], True) if len(lines) else new
    return Spans(lines.starts[new], lines.ends[last], lines.texts[new])


def n_grams(texts: Texts, tokens: Tokens, units: Integers) -> dict[int, Floats]:
    """Returns, by n, the share of each text's characters that are in repeated n-grams.

    For n in TOP, only the most frequent n-gram counts; for n in DUPLICATE, all that occur earlier in the text. units
    [texts]: letters per word, which multiply n in scripts without spaces; 1 in others.
    """
    result = {n: np.zeros(len(texts)) for n in (*TOP, *DUPLICATE)}
    words = tokens.words
    # The length of the token with its symbols, so that the shares refer to all characters of the text.
    lengths = (tokens.spans.ends - tokens.spans.starts)[tokens.is_word]
    hashes = texts.hash(words.starts, words.ends)
    for unit in np.unique(units):
        of_unit = np.flatnonzero(units[words.texts] == unit)[:_MOST]
        if len(of_unit):
            run = _Run(hashes[of_unit], words.texts[of_unit], lengths[of_unit], int(unit))
            for n, characters in run.n_grams(len(texts)):
                result[n] += characters / _sizes(texts)
    return result


class _Run:
    """The words of texts that have the same unit."""

    def __init__(self, hashes: Hashes, texts: Integers, lengths: Integers, unit: int) -> None:
        self._hashes, self._texts, self._unit = hashes, texts, unit
        self._ends = np.concatenate([[0], np.cumsum(lengths)])

    def n_grams(self, number: int) -> list[tuple[int, Floats]]:
        """Returns (n, characters of each text in repeated n-grams) for all n. number: the number of texts."""
        found = []
        places, size, hashes = np.arange(len(self._texts)), 0, np.zeros(len(self._texts), np.uint64)
        for n in (*TOP, *DUPLICATE):
            inside = places + n * self._unit - 1 < len(self._texts)
            places, hashes = places[inside], hashes[inside]
            same = self._texts[places + n * self._unit - 1] == self._texts[places]
            places, hashes = places[same], hashes[same]
            for offset in range(size, n * self._unit):
                hashes = scripts.mix(hashes ^ self._hashes[places + offset])
            size = n * self._unit
            ordered, new = _grouped(hashes, self._texts[places], places)
            found.append((n, (self._top if n in TOP else self._duplicate)(n, ordered, new, number)))
            last = np.append(new[1:], True) if len(new) else new
            # Only places in a group of several are examined for the next n.
            several = np.zeros(len(self._texts), bool)
            several[ordered[~(new & last)]] = True
            chosen = several[places]
            places, hashes = places[chosen], hashes[chosen]
        return found

    def _characters(self, n: int, places: Integers) -> Integers:
        return self._ends[places + n * self._unit] - self._ends[places]

    def _top(self, n: int, ordered: Integers, new: Bools, number: int) -> Floats:
        """Counts the characters of each text's most frequent n-gram, the first among equals, with spaces between
        its words.
        """
        starts = np.flatnonzero(new)
        counts = np.diff(np.append(starts, len(new)))
        starts, counts = starts[counts > 1], counts[counts > 1]
        firsts = ordered[starts]
        texts = self._texts[firsts]
        order = np.lexsort((firsts, -counts, texts))
        best = order[np.flatnonzero(np.diff(texts[order], prepend=-1))]
        spaces = n - 1 if self._unit == 1 else 0
        result = np.zeros(number)
        result[texts[best]] = counts[best] * (self._characters(n, firsts[best]) + spaces)
        return result

    def _duplicate(self, n: int, ordered: Integers, new: Bools, number: int) -> Floats:
        """Counts the characters of all n-grams that occur earlier in the text, each character once."""
        again = ordered[~new]
        cover = np.zeros(len(self._texts) + 1, np.int64)
        cover[again] += 1
        cover[again + n * self._unit] -= 1  # one n-gram begins, and one ends, at a place at most
        covered = np.flatnonzero(np.cumsum(cover[:-1]))
        return np.bincount(self._texts[covered], np.diff(self._ends)[covered], number).astype(np.float64)
