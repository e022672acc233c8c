"""Describes scripts: their letters, the usual length of their words, and how to count words without spaces.

Rules made for English count words, but Japanese, Chinese, Thai and others put no spaces between them. There, as many
letters as a word has on average count as one: 2 for Chinese characters and kana, 4 for Thai, Lao, Khmer and Burmese
(whose vowel signs are letters), 3 for Tibetan.
"""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]
SPACE, WORD, LETTER, UNSPACED = 1, 2, 4, 8
"""Flags of a character: white space; letter, digit or mark; letter; letter of a script without spaces."""


class Script(NamedTuple):
    """A script and the properties of its words."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    """First and last code points."""
    languages: tuple[str, ...] = ()
    """The ISO 639-1 codes of the languages written in it; empty if there are too many to list."""
    unit: int = 0
    """The number of letters that count as a word; 0 if spaces separate words."""
    mean: tuple[float, float] = (3.0, 10.0)
    """The smallest and the largest plausible mean length of a text's words."""
    terminal: bool = True
    """True if sentences end in punctuation."""
    weight: int = 1
    """The number of alphabetic letters that carry as much information as one of its letters."""


# Gopher's 3 and 10 fit alphabets. Korean words are a few syllables, each one character; Hebrew and Arabic omit vowels;
# Indian scripts write them as separate characters, and several of their languages join words.
_HANGUL, _CONSONANTS, _SIGNS = (1.5, 7.0), (2.0, 10.0), (2.0, 16.0)

SCRIPTS = (
    Script("other", ()),
    Script(
        "Latin",
        (
            (0x41, 0x5A),
            (0x61, 0x7A),
            (0xAA, 0xAA),
            (0xBA, 0xBA),
            (0xC0, 0x24F),
            (0x250, 0x2AF),
            (0x1E00, 0x1EFF),
            (0xFF21, 0xFF3A),
            (0xFF41, 0xFF5A),
        ),
    ),
    Script(
        "Cyrillic",
        ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
        ("be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "tt", "uk", "ba"),
    ),
    Script("Greek", ((0x370, 0x3FF), (0x1F00, 0x1FFF)), ("el",)),
    Script("Armenian", ((0x530, 0x58F),), ("hy",)),
    Script("Georgian", ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)), ("ka",)),
    Script("Hebrew", ((0x590, 0x5FF), (0xFB1D, 0xFB4F)), ("he",), mean=_CONSONANTS),
    Script(
        "Arabic",
        ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
        ("ar", "fa", "ku", "ps", "ug", "ur"),
        mean=_CONSONANTS,
    ),
    Script(
        "Hangul",
        ((0xAC00, 0xD7FF), (0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F)),
        ("ko",),
        mean=_HANGUL,
        weight=3,
    ),
    Script(
        "Han",
        ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xF900, 0xFAFF), (0x20000, 0x323AF), (0x3005, 0x3007)),
        ("zh",),
        unit=2,
        weight=3,
    ),
    Script("kana", ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)), ("ja",), unit=2, weight=2),
    Script("Thai", ((0xE00, 0xE7F),), ("th",), unit=4, terminal=False),
    Script("Lao", ((0xE80, 0xEFF),), ("lo",), unit=4, terminal=False),
    Script("Khmer", ((0x1780, 0x17FF),), ("km",), unit=4),
    Script("Burmese", ((0x1000, 0x109F),), ("my",), unit=4),
    Script("Tibetan", ((0xF00, 0xFFF),), (), unit=3, terminal=False),
    Script("Devanagari", ((0x900, 0x97F), (0xA8E0, 0xA8FF)), ("hi", "mr", "ne", "sa"), mean=_SIGNS),
    Script("Bengali", ((0x980, 0x9FF),), ("as", "bn"), mean=_SIGNS),
    Script("Gurmukhi", ((0xA00, 0xA7F),), ("pa",), mean=_SIGNS),
    Script("Gujarati", ((0xA80, 0xAFF),), ("gu",), mean=_SIGNS),
    Script("Odia", ((0xB00, 0xB7F),), ("or",), mean=_SIGNS),
    Script("Tamil", ((0xB80, 0xBFF),), ("ta",), mean=_SIGNS),
    Script("Telugu", ((0xC00, 0xC7F),), ("te",), mean=_SIGNS),
    Script("Kannada", ((0xC80, 0xCFF),), ("kn",), mean=_SIGNS),
    Script("Malayalam", ((0xD00, 0xD7F),), ("ml",), mean=_SIGNS),
    Script("Sinhala", ((0xD80, 0xDFF),), ("si",), mean=_SIGNS),
    Script("Ethiopic", ((0x1200, 0x139F), (0x2D80, 0x2DDF)), ("am",), mean=_CONSONANTS),
)
UNITS = np.array([script.unit for script in SCRIPTS])
MEANS = np.array([script.mean for script in SCRIPTS])
WEIGHTS = np.array([0, *(script.weight for script in SCRIPTS[1:])])
TERMINAL = np.array([script.terminal for script in SCRIPTS])
NAMES = {script.name: number for number, script in enumerate(SCRIPTS)}

_ASSIGNED = 0x323B0  # from here on there are only variation selectors and private use
# Some writers separate phrases of scripts without spaces by these characters of no width.
_NO_WIDTH = "\u200b\ufeff"


class Characters(NamedTuple):
    """Properties of each code point, arrays [0x110000]."""

    flags: npt.NDArray[np.uint8]
    script: npt.NDArray[np.uint8]
    hash: npt.NDArray[np.uint64]
    """A random number per character, the same for its small and its capital letter."""


@functools.cache
def characters() -> Characters:
    """Returns the tables, computed once per process."""
    flags, script = np.zeros(0x110000, np.uint8), np.zeros(0x110000, np.uint8)
    lower = np.arange(0x110000, dtype=np.uint64)
    for code in range(_ASSIGNED):
        character = chr(code)
        if character.isalpha():
            flags[code] = WORD | LETTER
            small = character.lower()
            lower[code] = ord(small) if len(small) == 1 else code
        elif character.isspace():
            flags[code] = SPACE
        elif character.isalnum():
            flags[code] = WORD
    for character in _NO_WIDTH:
        flags[ord(character)] = SPACE
    marks = [code for code in range(0x300, _ASSIGNED) if not flags[code] and _is_mark(chr(code))]
    flags[marks] = WORD
    for number, (_, ranges, _, unit, *_) in enumerate(SCRIPTS):
        for first, last in ranges:
            span = slice(first, last + 1)
            within = flags[span] & (WORD if unit else LETTER) > 0
            script[span][within] = number
            if unit:
                # Marks count as letters here; digits do not.
                letters = within & ~np.array([chr(code).isdigit() for code in range(first, last + 1)])
                flags[span][letters] |= LETTER | UNSPACED
    return Characters(flags, script, mix(lower))


def _is_mark(character: str) -> bool:
    import unicodedata

    return unicodedata.category(character)[0] == "M"


def mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Permutes 64-bit numbers without leaving a pattern (the finalizer of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def codes(text: str) -> Codes:
    """Returns the code points of a text, uint32 [characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def dominant(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns how much of each text is in each script, [texts, scripts], from numbers of characters.

    Kana among Chinese characters make a text Japanese, to which both then count. Script 0 ("other") counts nothing.
    """
    amounts = counts * WEIGHTS
    han, kana = NAMES["Han"], NAMES["kana"]
    japanese = 10 * amounts[:, kana] > amounts[:, han]
    amounts[:, kana] += amounts[:, han] * japanese
    amounts[:, han] *= ~japanese
    return amounts
