"""How much of a text is said more than once: lines, paragraphs and n-grams (Gopher, arXiv 2112.11446, table A1).

An n-gram that is repeated begins with a repeated one of n - 1 words: each length looks at what the one before has left.
"""

import numpy as np

from palmetto.corpus.text import scripts
from palmetto.corpus.text.rolling import Hashes
from palmetto.corpus.text.words import Bools, Floats, Integers, Spans, Texts, Tokens

_MOST = 1 << 20
"""Words of a text that are compared; what comes behind them is not."""
TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)


def _grouped(hashes: Hashes, texts: Integers, places: Integers) -> tuple[Integers, Bools]:
    """The places ordered by text, hash and place, and where a new text or hash begins. Places are under 2^20, texts
    under 2^12; of the hash 32 bits count, within one text."""
    keys = (
        texts.astype(np.uint64) << np.uint64(52) | hashes >> np.uint64(32) << np.uint64(20) | places.astype(np.uint64)
    )
    keys.sort()
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] >> np.uint64(20) != keys[:-1] >> np.uint64(20)
    return (keys & np.uint64(_MOST - 1)).astype(np.int64), new


def repeated(texts: Texts, spans: Spans) -> tuple[Floats, Floats]:
    """Of the spans of each text, the part that occurs before in it; and their part of its characters."""
    spans = spans.of(np.arange(len(spans)) < _MOST)
    places, new = _grouped(texts.hash(spans.starts, spans.ends), spans.texts, np.arange(len(spans)))
    again = places[~new]
    count = np.bincount(spans.texts[again], minlength=len(texts))
    characters = np.bincount(spans.texts[again], (spans.ends - spans.starts)[again], len(texts))
    total = np.bincount(spans.texts, minlength=len(texts))
    return count / np.maximum(total, 1), characters / _sizes(texts)


def _sizes(texts: Texts) -> Integers:
    """Characters of each text; 1 if it has none."""
    return np.maximum(np.diff(texts.bounds) - 1, 1)


def paragraphs(texts: Texts, lines: Spans) -> Spans:
    """Lines without a blank one between."""
    breaks = np.cumsum(texts.codes == 10)
    new = np.ones(len(lines), bool)
    new[1:] = (breaks[lines.starts[1:]] - breaks[lines.starts[:-1]] > 1) | (lines.texts[1:] != lines.texts[:-1])
    last = np.append(new[1:], True) if len(lines) else new
    return Spans(lines.starts[new], lines.ends[last], lines.texts[new])


def n_grams(texts: Texts, tokens: Tokens, units: Integers) -> dict[int, Floats]:
    """By n: of TOP the part of each text's characters in the n-gram that occurs most often, of DUPLICATE in those that
    occur before; for texts without spaces, n times the letters that a word has.

    units [texts]: letters a word; 1: words are parted by spaces.
    """
    result = {n: np.zeros(len(texts)) for n in (*TOP, *DUPLICATE)}
    words = tokens.words
    # As long as the token, signs and all, so that these parts are of the same characters as the whole.
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
    """The words of texts that count n alike."""

    def __init__(self, hashes: Hashes, texts: Integers, lengths: Integers, unit: int) -> None:
        self._hashes, self._texts, self._unit = hashes, texts, unit
        self._ends = np.concatenate([[0], np.cumsum(lengths)])

    def n_grams(self, number: int) -> list[tuple[int, Floats]]:
        """(n, characters of each text in repeated n-grams), of all lengths. number: of texts."""
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
            # Where the hash is of each place again; only what is in a group of several goes on.
            several = np.zeros(len(self._texts), bool)
            several[ordered[~(new & last)]] = True
            chosen = several[places]
            places, hashes = places[chosen], hashes[chosen]
        return found

    def _characters(self, n: int, places: Integers) -> Integers:
        return self._ends[places + n * self._unit] - self._ends[places]

    def _top(self, n: int, ordered: Integers, new: Bools, number: int) -> Floats:
        """Of the most frequent n-gram of each text that has one twice, the first of equals; spaces between words
        count."""
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
        """Of all n-grams that occur before, no character counted twice."""
        again = ordered[~new]
        cover = np.zeros(len(self._texts) + 1, np.int64)
        cover[again] += 1
        cover[again + n * self._unit] -= 1  # one n-gram begins, and one ends, at a place at most
        covered = np.flatnonzero(np.cumsum(cover[:-1]))
        return np.bincount(self._texts[covered], np.diff(self._ends)[covered], number).astype(np.float64)
