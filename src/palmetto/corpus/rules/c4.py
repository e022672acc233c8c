"""Applies C4's rules for web pages (arXiv 1910.10683, section 2.2) to text in any script: cuts lines and drops texts.

    a line is cut unless       it ends in terminal punctuation or a closing quotation mark, and not in an ellipsis
                               it has 5 words (letters of scripts without spaces count as fractions of words)
                               it contains neither "javascript" nor the phrases of cookie and policy notices
    a text is dropped if       it contains "lorem ipsum" or a curly brace
                               fewer than 3 sentences are left
                               it contains a bad word; the list is the user's, none is included

Blank lines stay. Thai, Lao and Tibetan do not end sentences with punctuation and are exempt from the rules that need
it. Unlike the original, citation marks are kept, and pages need not be English.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus import tables
from palmetto.corpus.rules.gopher import Verdicts
from palmetto.corpus.text.rolling import Hashes
from palmetto.corpus.text.scripts import SPACE, TERMINAL
from palmetto.corpus.text.words import Bools, Integers, Spans, Texts, Tokens

WORDS_A_LINE, SENTENCES = 5, 3
_WIDE = "。！？．｡।॥።፧፨།៕"  # end a sentence whatever follows
_NARROW = ".!?…։؟۔‽⁇⁈⁉"  # end one before white space or a closing mark
_QUOTES = "\"'”’»›」』＂"
_BRACKETS = ")]）】〕》〉"
_NOTICES = "javascript|terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
_NOTICE = re.compile(_NOTICES, re.IGNORECASE)


def _one_of(*groups: str) -> Bools:
    table = np.zeros(0x110000, bool)
    table[[ord(character) for group in groups for character in group]] = True
    return table


_IS_WIDE, _IS_NARROW = _one_of(_WIDE), _one_of(_NARROW)
_IS_QUOTE, _IS_BRACKET = _one_of(_QUOTES), _one_of(_BRACKETS)


def judge(
    array: pa.LargeStringArray, texts: Texts, tokens: Tokens, lines: Spans, bad_words: Hashes
) -> tuple[Verdicts, Spans]:
    """Returns the verdict of every rule on every text, and the lines to cut, with their line breaks.

    array: the texts themselves. bad_words: sorted hashes.
    """
    spared = ~TERMINAL[texts.scripts]
    ends = _sentence_ends(texts)
    cut = _too_short(tokens, lines) | _with_notices(array, texts, lines)
    cut |= ~_ends_well(texts, lines) & ~spared[lines.texts]
    in_line = np.searchsorted(ends, lines.ends) - np.searchsorted(ends, lines.starts)
    sentences = np.bincount(lines.texts[~cut], in_line[~cut], len(texts))
    none_left = np.bincount(lines.texts[~cut], minlength=len(texts)) == 0
    verdicts: Verdicts = [
        ("lorem ipsum", _has(array, "lorem ipsum", ignore_case=True)),
        ("curly brace", _has(array, "{", ignore_case=False)),
        ("bad words", _bad(texts, tokens, bad_words)),
        ("too few sentences", (sentences < SENTENCES) & ~spared | none_left),
    ]
    return verdicts, _whole_lines(texts, lines.of(cut))


def _has(array: pa.LargeStringArray, pattern: str, *, ignore_case: bool) -> Bools:
    found: Bools = pc.match_substring(array, pattern, ignore_case=ignore_case).to_numpy(zero_copy_only=False)
    return found


def _bad(texts: Texts, tokens: Tokens, bad_words: Hashes) -> Bools:
    words = tokens.words
    found = np.isin(texts.hash(words.starts, words.ends), bad_words) if len(bad_words) else np.zeros(len(words), bool)
    return np.bincount(words.texts[found], minlength=len(texts)) > 0


def _sentence_ends(texts: Texts) -> Integers:
    """Returns the positions of punctuation that ends sentences."""
    codes = texts.codes
    after = np.append(codes[1:], np.uint32(10))
    closing = (np.append(texts.flags[1:], SPACE) & SPACE > 0) | _IS_QUOTE[after] | _IS_BRACKET[after]
    return np.flatnonzero(_IS_WIDE[codes] & ~_IS_WIDE[after] | _IS_NARROW[codes] & closing)


def _too_short(tokens: Tokens, lines: Spans) -> Bools:
    words = np.concatenate([[0], np.cumsum(tokens.weights * tokens.is_word)])
    starts = tokens.spans.starts
    return words[np.searchsorted(starts, lines.ends)] - words[np.searchsorted(starts, lines.starts)] < WORDS_A_LINE


def _ends_well(texts: Texts, lines: Spans) -> Bools:
    """Returns whether lines end in terminal punctuation, possibly before a bracket, or in a quotation mark, not an
    ellipsis.
    """
    codes, last = texts.codes, lines.ends - 1
    last = np.where(_IS_BRACKET[codes[last]] & (last > lines.starts), last - 1, last)
    final, before = codes[last], codes[np.maximum(last - 1, 0)]
    well = _IS_WIDE[final] | _IS_NARROW[final] | _IS_QUOTE[final] & (last == lines.ends - 1)
    trails = (final == ord("…")) | (final == ord(".")) & (before == ord(".")) & (last > lines.starts)
    return well & ~trails


def _with_notices(array: pa.LargeStringArray, texts: Texts, lines: Spans) -> Bools:
    """Returns which lines contain phrases of technical or legal notices."""
    found = np.zeros(len(lines), bool)
    some = pc.match_substring_regex(array, _NOTICES, ignore_case=True).to_numpy(zero_copy_only=False)
    for line in np.flatnonzero(some[lines.texts]):
        text = texts.codes[lines.starts[line] : lines.ends[line]].tobytes().decode("utf-32-le")
        found[line] = _NOTICE.search(text) is not None
    return found


def _whole_lines(texts: Texts, lines: Spans) -> Spans:
    """Extends spans to whole lines, with surrounding white space and the line break after them, and joins
    neighbours.
    """
    breaks = np.flatnonzero(texts.codes == 10)
    number = np.searchsorted(breaks, lines.starts)
    starts = np.where(number > 0, breaks[number - 1] + 1, 0)
    # The last line of a text has a break only here.
    ends = np.minimum(breaks[number] + 1, texts.bounds[lines.texts + 1] - 1)
    new = np.ones(len(lines), bool)
    new[1:] = (starts[1:] != ends[:-1]) | (lines.texts[1:] != lines.texts[:-1])
    last = np.append(new[1:], True) if len(new) else new
    return Spans(starts[new], ends[last], lines.texts[new])


def edits(texts: Texts, cut: Spans) -> pa.Array:
    """Returns the `tables.EDITS` of each text; null if nothing is cut."""
    counts = np.bincount(cut.texts, minlength=len(texts))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32(), mask=np.append(counts == 0, False))
    begin = texts.bounds[cut.texts]
    values = pa.StructArray.from_arrays(
        [pa.array(cut.starts - begin), pa.array(cut.ends - begin), pa.array([""] * len(cut), pa.string())],
        fields=list(tables.EDITS.value_type),
    )
    return pa.ListArray.from_arrays(offsets, values, type=tables.EDITS)
