"""Cuts long documents into sections where their content decides, so copies of a book are cut at the same places.

Sections of fixed length would differ between two copies as soon as one has a longer preface, and none would be
duplicates. Here a text is cut at the break whose next words have the smallest hash, and so are its two parts, until all
are short enough. So text before or after a passage only changes the cuts near its ends.
"""

import hashlib
import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from palmetto.corpus.documents import cut_bytes

_PARAGRAPH = re.compile(rb"\n[ \t\r]*\n\s*(?=\S)")
_LINE = re.compile(rb"\n(?=[^\n])")
_LOOK_AHEAD = 256
_WORDS = 8


def sections(data: bytes, section_bytes: int) -> Iterator[bytes]:
    """Yields the sections of UTF-8 bytes in order; joined, they are `data`.

    Sections begin at paragraphs, or at lines where there are none. They are at most about `section_bytes` long, and at
    least a quarter of that where the breaks allow it. A longer stretch without breaks is cut as by `cut_bytes`.
    """
    return _cut(data, 0, len(data), section_bytes, (_PARAGRAPH, _LINE))


def _cut(
    data: bytes, start: int, end: int, section_bytes: int, expressions: tuple[re.Pattern[bytes], ...]
) -> Iterator[bytes]:
    """Yields the sections of a stretch, cut at breaks of the first expression, or of the next if that has none."""
    if end - start <= section_bytes:
        if end > start:
            yield data[start:end]
        return
    if not expressions:
        yield from cut_bytes(data[start:end], section_bytes)
        return
    margin = max(1, section_bytes // 4)
    places, hashes = _hashed(data, start, end, expressions[0])
    waiting = [(start, end)]
    while waiting:
        start, end = waiting.pop()
        low, high = np.searchsorted(places, [start + margin, end - margin + 1])
        if end - start <= section_bytes or low >= high:
            yield from _cut(data, start, end, section_bytes, expressions[1:])
            continue
        least = low + np.flatnonzero(hashes[low:high] == hashes[low:high].min())
        # The middle one of equal hashes; otherwise a text of equal lines would take quadratic time.
        chosen = int(places[least[len(least) // 2]])
        waiting += [(chosen, end), (start, chosen)]


def _hashed(
    data: bytes, start: int, end: int, expression: re.Pattern[bytes]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Returns the positions after breaks, and a hash of the first words there, ignoring white space."""
    places = np.fromiter((match.end() for match in expression.finditer(data, start, end)), np.int64)
    return places, np.fromiter((_head_hash(data[place : place + _LOOK_AHEAD]) for place in places), np.uint64)


def _head_hash(data: bytes) -> int:
    words = b" ".join(data.split(None, _WORDS)[:_WORDS])
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest())
