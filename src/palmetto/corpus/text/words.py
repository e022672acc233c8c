"""Represents the characters, words and lines of many texts as arrays, so that no rule loops over them in Python."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus.text import scripts
from palmetto.corpus.text.rolling import Hashes, Rolling
from palmetto.corpus.text.scripts import LETTER, SPACE, UNITS, UNSPACED, WORD, Codes

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BATCH = 1 << 18
"""The number of characters in a batch, so that its arrays stay in the caches; a longer text is a batch by itself."""
MOST_TEXTS = 4096
LONGEST = 1 << 24
"""The number of characters of the longest text that can be processed; its arrays take about 1 GiB."""


def batches(texts: pa.ChunkedArray) -> Iterator[tuple[int, "Texts"]]:
    """Yields the texts (large_string) in order, one batch at a time, each with the index of its first text."""
    array = texts.combine_chunks() if texts.num_chunks != 1 else texts.chunk(0)
    if not len(array):
        return
    ends = np.cumsum(pc.utf8_length(array).to_numpy().astype(np.int64) + 1)
    start = 0
    while start < len(array):
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + BATCH, "right"))
        stop = min(max(stop, start + 1), start + MOST_TEXTS)
        bounds = np.concatenate([[0], ends[start:stop] - before])
        yield start, Texts(array.slice(start, stop - start), bounds)
        start = stop


@dataclass(frozen=True)
class Spans:
    """Stretches of characters [starts, ends), in order, and the text that contains each."""

    starts: Integers
    ends: Integers
    texts: Integers

    def __len__(self) -> int:
        return len(self.starts)

    def of(self, chosen: Bools) -> "Spans":
        return Spans(self.starts[chosen], self.ends[chosen], self.texts[chosen])


class Texts:
    """Texts joined, with a line break after each.

    bounds [n + 1]: where each text begins. codes, flags [characters]: see `scripts.Characters`.
    """

    def __init__(self, array: pa.LargeStringArray, bounds: Integers) -> None:
        joined = pc.binary_join_element_wise(
            array, pa.scalar("", pa.large_string()), pa.scalar("\n", pa.large_string())
        )
        first, last = np.frombuffer(joined.buffers()[1], np.int64)[[joined.offset, joined.offset + len(joined)]]
        self.codes: Codes = scripts.codes(str(memoryview(joined.buffers()[2])[first:last], "utf-8"))
        self.bounds = bounds
        table = scripts.characters()
        self.flags = table.flags[self.codes]
        self._rolling = Rolling(table.hash[self.codes])

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def hash(self, starts: Integers, ends: Integers) -> Hashes:
        """Returns a hash of each span; spans that differ only in case have the same hash."""
        return scripts.mix(self._rolling.hash(starts, ends))

    def text_of(self, places: Integers) -> Integers:
        """Returns the text that contains each place. places: ascending."""
        counts = np.diff(np.searchsorted(places, self.bounds))
        return np.repeat(np.arange(len(self)), counts)

    def count(self, places: Integers) -> Integers:
        """Returns the number of places in each text. places: ascending."""
        return np.diff(np.searchsorted(places, self.bounds))

    def counts_before(self, flag: int) -> Integers:
        """Returns how many characters before each position have a flag, shape [characters + 1]."""
        return np.cumsum(np.concatenate([[False], self.flags & flag > 0]))

    @functools.cached_property
    def scripts(self) -> Integers:
        """The script of most of each text, as an index into scripts.SCRIPTS."""
        kinds = scripts.characters().script[self.codes]
        number = len(scripts.SCRIPTS)
        text = np.repeat(np.arange(len(self)) * number, np.diff(self.bounds))
        counts = np.bincount(text + kinds, minlength=number * len(self)).reshape(-1, number)
        return scripts.dominant(counts).argmax(axis=1)

    def lines(self) -> Spans:
        """Returns the lines that are not blank, without surrounding white space."""
        ends = np.flatnonzero(self.codes == 10)
        starts = np.concatenate([[0], ends[:-1] + 1])
        return self._trimmed(Spans(starts, ends, self.text_of(starts)), self.flags & SPACE == 0)

    def _trimmed(self, spans: Spans, kept: Bools) -> Spans:
        """Returns the spans cut to their first and last kept characters, without the empty ones."""
        places = np.flatnonzero(kept)
        first, last = np.searchsorted(places, spans.starts), np.searchsorted(places, spans.ends)
        some = last > first
        return Spans(places[first[some]], places[last[some] - 1] + 1, spans.texts[some])

    def tokens(self) -> "Tokens":
        """Returns all words and symbols."""
        unspaced = self.flags & UNSPACED > 0
        running = self.flags & (SPACE | UNSPACED) == 0
        # A line break between texts ends every run.
        begins, ends = unspaced.copy(), unspaced.copy()
        begins[0] |= running[0]
        begins[1:] |= running[1:] & ~running[:-1]
        ends[:-1] |= running[:-1] & ~running[1:]
        starts = np.flatnonzero(begins)
        return Tokens(self, Spans(starts, np.flatnonzero(ends) + 1, self.text_of(starts)))


class Tokens:
    """Words and symbols of texts: runs without spaces, and single letters of scripts without spaces.

    weights [tokens]: the number of words each counts as, 1, or a fraction for such a letter. is_word: whether it has a
    letter or digit.
    """

    def __init__(self, texts: Texts, spans: Spans) -> None:
        self.spans = spans
        self.unspaced = texts.flags[spans.starts] & UNSPACED > 0
        places, before = np.flatnonzero(texts.flags & WORD), texts.counts_before(WORD)
        first, last = before[spans.starts], before[spans.ends]
        self.is_word = last > first
        self.words = Spans(places[first[self.is_word]], places[last[self.is_word] - 1] + 1, spans.texts[self.is_word])
        """The words alone, without surrounding symbols."""
        letters = texts.counts_before(LETTER)
        self.has_letter = letters[spans.ends] > letters[spans.starts]
        self.weights = np.ones(len(spans))
        kinds = scripts.characters().script[texts.codes[spans.starts[self.unspaced]]]
        self.weights[self.unspaced] = 1 / UNITS[kinds]

    def __len__(self) -> int:
        return len(self.spans)
