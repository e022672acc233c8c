"""Applies Gopher's rules for running text (arXiv 2112.11446, appendix A.1.1 and table A1) to text in any script.

    rule                       dropped if              in other scripts
    words                      < 50 or > 100,000       letters count as fractions of words (scripts.py)
    mean length of words       < 3 or > 10             a range by script; no rule for scripts without spaces
    # or ellipses per word     > 0.1                   the same
    lines that begin a list    > 90 %                  the same
    lines ending in ellipsis   > 30 %                  the same
    words with a letter        < 80 %                  symbols do not count as words in scripts without spaces
    stop words                 < 2 different ones      those of the language; no rule if none are listed
    duplicate lines            > 30 %, 20 % of text    the same
    duplicate paragraphs       > 30 %, 20 % of text    the same
    most frequent 2-, 3-, 4-gram         > 20, 18, 16 % of text             n times the letters per word
    duplicate 5-, 6-, … 10-gram          > 15, 14, 13, 12, 11, 10 % of text n times the letters per word

A word is a run without spaces that has a letter or digit; its length excludes surrounding symbols. Blank lines do not
count. Case is ignored. All fractions of text are in characters.
"""

import functools

import numpy as np

from palmetto.corpus.rules import repetition
from palmetto.corpus.rules.stop_words import STOP_WORDS
from palmetto.corpus.text.rolling import Hashes
from palmetto.corpus.text.scripts import MEANS, UNITS
from palmetto.corpus.text.words import Bools, Floats, Integers, Spans, Texts, Tokens
from palmetto.recipe.corpus import Filters

SYMBOLS, BULLETS, ELLIPSES, LETTERS, LEAST_STOP_WORDS = 0.1, 0.9, 0.3, 0.8, 2
DUPLICATE_SPANS, DUPLICATE_CHARACTERS = 0.3, 0.2
N_GRAMS = {2: 0.20, 3: 0.18, 4: 0.16, 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

_BULLETS = np.array([ord(each) for each in "•‣▪●○◦・*-"], np.uint32)
_DOT, _ELLIPSIS, _HASH = (ord(each) for each in ".…#")

Verdicts = list[tuple[str, Bools]]
"""The reason that each rule gives for dropping a text, and the texts that it drops, in the order of the rules."""


def judge(texts: Texts, tokens: Tokens, lines: Spans, languages: list[str | None], settings: Filters) -> Verdicts:
    """Returns the verdict of every rule on every text. languages [texts]: ISO 639-1."""
    kinds = texts.scripts
    units = units_of(texts, tokens)
    return [
        *_by_words(texts, tokens, kinds, units, settings),
        *_by_lines(texts, lines),
        ("too few stop words", _lacks_stop_words(texts, tokens, languages)),
        *_by_repetition(texts, tokens, lines, units),
    ]


def units_of(texts: Texts, tokens: Tokens) -> Integers:
    """Returns, for each text, the letters per word if most of it is in a script without spaces, else 1."""
    amounts = np.zeros((len(texts), int(UNITS.max()) + 1))
    sizes = np.round(1 / tokens.weights).astype(np.int64)
    sizes[~tokens.unspaced] = 0
    np.add.at(amounts, (tokens.spans.texts[tokens.is_word], sizes[tokens.is_word]), tokens.weights[tokens.is_word])
    return np.maximum(amounts.argmax(axis=1), 1)


def _sum(of: Integers, number: int, weights: Floats | Integers | None = None) -> Floats:
    return np.bincount(of, weights, number).astype(np.float64)


def _by_words(texts: Texts, tokens: Tokens, kinds: Integers, units: Integers, settings: Filters) -> Verdicts:
    number, of = len(texts), tokens.spans.texts
    words = _sum(of, number, tokens.weights * tokens.is_word)
    spaced = ~tokens.unspaced[tokens.is_word]
    lengths = (tokens.words.ends - tokens.words.starts)[spaced]
    mean = _sum(tokens.words.texts[spaced], number, lengths) / np.maximum(_sum(tokens.words.texts[spaced], number), 1)
    least, most = MEANS[kinds].T
    counted = tokens.is_word | (units[of] == 1)
    lettered = _sum(of, number, tokens.weights * tokens.has_letter)
    share = lettered / np.maximum(_sum(of, number, tokens.weights * counted), 1)
    hashes = texts.count(np.flatnonzero(texts.codes == _HASH))
    ellipses = texts.count(np.flatnonzero(_ellipses(texts)))
    return [
        ("too few words", words < settings.minimum_words),
        ("too many words", words > settings.maximum_words),
        ("words too short", (units == 1) & (mean < least)),
        ("words too long", (units == 1) & (mean > most)),
        ("too many symbols", np.maximum(hashes, ellipses) > SYMBOLS * words),
        ("too few words with letters", share < LETTERS),
    ]


def _ellipses(texts: Texts) -> Bools:
    """Returns the positions at which a run of three or more dots, or of ellipsis characters, ends."""
    dot, sign = texts.codes == _DOT, texts.codes == _ELLIPSIS
    three = np.zeros(len(dot), bool)
    three[2:] = dot[2:] & dot[1:-1] & dot[:-2]
    either = three | sign
    either[:-1] &= ~(dot | sign)[1:]
    return either


def _by_lines(texts: Texts, lines: Spans) -> Verdicts:
    number = np.maximum(_sum(lines.texts, len(texts)), 1)
    bullets = np.isin(texts.codes[lines.starts], _BULLETS)
    trailing = _ellipses(texts)[lines.ends - 1]
    return [
        ("bullet lines", _sum(lines.texts[bullets], len(texts)) / number > BULLETS),
        ("ellipsis lines", _sum(lines.texts[trailing], len(texts)) / number > ELLIPSES),
    ]


@functools.cache
def _stop_hashes() -> dict[str, Hashes]:
    """Returns the sorted hashes of each language's stop words."""
    import pyarrow as pa

    result = {}
    for language, words in STOP_WORDS.items():
        array = pa.array(words, pa.large_string())
        texts = Texts(array, np.concatenate([[0], np.cumsum([len(word) + 1 for word in words])]))
        result[language] = np.sort(texts.hash(texts.bounds[:-1], texts.bounds[1:] - 1))
    return result


def _lacks_stop_words(texts: Texts, tokens: Tokens, languages: list[str | None]) -> Bools:
    lacks = np.zeros(len(texts), bool)
    words = tokens.words
    hashes = texts.hash(words.starts, words.ends)
    named = np.array([language or "" for language in languages])
    for language in np.unique(named):
        stop = _stop_hashes().get(str(language))
        if stop is None:
            continue
        chosen = np.flatnonzero((named == language)[words.texts])
        number = np.searchsorted(stop, hashes[chosen]) % len(stop)
        found = stop[number] == hashes[chosen]
        seen = np.zeros((len(texts), len(stop)), bool)
        seen[words.texts[chosen[found]], number[found]] = True
        lacks |= (named == language) & (seen.sum(axis=1) < LEAST_STOP_WORDS)
    return lacks


def _by_repetition(texts: Texts, tokens: Tokens, lines: Spans, units: Integers) -> Verdicts:
    verdicts: Verdicts = []
    for name, spans in (("lines", lines), ("paragraphs", repetition.paragraphs(texts, lines))):
        count, characters = repetition.repeated(texts, spans)
        verdicts.append((f"duplicate {name}", (count > DUPLICATE_SPANS) | (characters > DUPLICATE_CHARACTERS)))
    for n, share in repetition.n_grams(texts, tokens, units).items():
        name = "frequent" if n in repetition.TOP else "duplicate"
        verdicts.append((f"{name} {n}-grams", share > N_GRAMS[n]))
    return verdicts
