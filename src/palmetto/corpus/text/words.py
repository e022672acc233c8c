"""Many texts at once: their characters, words and lines as arrays, so that no rule loops over them in Python."""

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
"""Characters of the texts that are looked at together, so that their arrays stay in the caches; a longer text comes
alone."""
MOST_TEXTS = 4096
LONGEST = 1 << 24
"""Characters of a text that can be looked at: with these, its arrays take about a GiB."""


def batches(texts: pa.ChunkedArray) -> Iterator[tuple[int, "Texts"]]:
    """The texts (large_string) in order, a batch at a time, each with the number of its first."""
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
    """Stretches of characters, in order: [starts, ends), and the text that each lies in."""

    starts: Integers
    ends: Integers
    texts: Integers

    def __len__(self) -> int:
        return len(self.starts)

    def of(self, chosen: Bools) -> "Spans":
        return Spans(self.starts[chosen], self.ends[chosen], self.texts[chosen])


class Texts:
    """Texts one behind another, a line break after each.

    bounds [n + 1]: where each begins; codes, flags, hashes [characters]: see `scripts.Characters`.
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
        """Of each span: equal where the characters are, capital or small."""
        return scripts.mix(self._rolling.hash(starts, ends))

    def text_of(self, places: Integers) -> Integers:
        """The text that each place lies in. places: ascending."""
        counts = np.diff(np.searchsorted(places, self.bounds))
        return np.repeat(np.arange(len(self)), counts)

    def count(self, places: Integers) -> Integers:
        """How many of the places, ascending, lie in each text."""
        return np.diff(np.searchsorted(places, self.bounds))

    def before(self, flag: int) -> Integers:
        """[characters + 1]: how many before each place have a flag."""
        return np.cumsum(np.concatenate([[False], self.flags & flag > 0]))

    @functools.cached_property
    def scripts(self) -> Integers:
        """The script that most of each text is in: numbers of scripts.SCRIPTS."""
        kinds = scripts.characters().script[self.codes]
        number = len(scripts.SCRIPTS)
        text = np.repeat(np.arange(len(self)) * number, np.diff(self.bounds))
        counts = np.bincount(text + kinds, minlength=number * len(self)).reshape(-1, number)
        return scripts.dominant(counts).argmax(axis=1)

    def lines(self) -> Spans:
        """The lines that are not blank, without the white space around them."""
        ends = np.flatnonzero(self.codes == 10)
        starts = np.concatenate([[0], ends[:-1] + 1])
        return self._trimmed(Spans(starts, ends, self.text_of(starts)), self.flags & SPACE == 0)

    def _trimmed(self, spans: Spans, kept: Bools) -> Spans:
        """Spans cut down to their first and last kept characters; those without any left out."""
        places = np.flatnonzero(kept)
        first, last = np.searchsorted(places, spans.starts), np.searchsorted(places, spans.ends)
        some = last > first
        return Spans(places[first[some]], places[last[some] - 1] + 1, spans.texts[some])

    def tokens(self) -> "Tokens":
        """All words and signs."""
        unspaced = self.flags & UNSPACED > 0
        running = self.flags & (SPACE | UNSPACED) == 0
        # No run goes on from one text to the next, since a line break lies between.
        begins, ends = unspaced.copy(), unspaced.copy()
        begins[0] |= running[0]
        begins[1:] |= running[1:] & ~running[:-1]
        ends[:-1] |= running[:-1] & ~running[1:]
        starts = np.flatnonzero(begins)
        return Tokens(self, Spans(starts, np.flatnonzero(ends) + 1, self.text_of(starts)))


class Tokens:
    """Words and signs of texts: what stands between spaces, and each letter of a script without them.

    weights [tokens]: words that each counts as: 1, or of such a letter a part. is_word: has a letter or digit.
    """

    def __init__(self, texts: Texts, spans: Spans) -> None:
        self.spans = spans
        self.unspaced = texts.flags[spans.starts] & UNSPACED > 0
        places, before = np.flatnonzero(texts.flags & WORD), texts.before(WORD)
        first, last = before[spans.starts], before[spans.ends]
        self.is_word = last > first
        self.words = Spans(places[first[self.is_word]], places[last[self.is_word] - 1] + 1, spans.texts[self.is_word])
        """The words alone, without the signs around them."""
        letters = texts.before(LETTER)
        self.has_letter = letters[spans.ends] > letters[spans.starts]
        self.weights = np.ones(len(spans))
        kinds = scripts.characters().script[texts.codes[spans.starts[self.unspaced]]]
        self.weights[self.unspaced] = 1 / UNITS[kinds]

    def __len__(self) -> int:
        return len(self.spans)
