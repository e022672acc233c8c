"""Long documents cut into sections where their content says, so that copies of a book are cut at the same places.

Sections that are counted off from the beginning differ between two copies as soon as one has a longer preface, and no
two of them are duplicates. Here a text is cut at the break whose next words have the smallest hash, and so are its two
parts, until all are short enough: what stands before or after a passage changes the cuts at its ends only.
"""

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from palmetto.corpus.documents import cut_bytes

_PARAGRAPH = re.compile(rb"\n[ \t\r]*\n\s*(?=\S)")
_LINE = re.compile(rb"\n(?=[^\n])")
_LOOK_AHEAD = 256
_WORDS = 8


def sections(data: bytes, section_bytes: int) -> Iterator[bytes]:
    """The sections of UTF-8, in order; joined, they are `data`. They begin at paragraphs, or at lines where there are
    none, and are at most about `section_bytes` long, and at least a quarter of that where the breaks allow it. A
    longer stretch without a break is cut as `cut_bytes` does."""
    waiting = [(0, len(data))]
    breaks = [_hashed(data, expression) for expression in (_PARAGRAPH, _LINE)] if len(data) > section_bytes else []
    while waiting:
        start, end = waiting.pop()
        if end - start <= section_bytes:
            if end > start:
                yield data[start:end]
            continue
        margin = max(1, section_bytes // 4)
        for places, hashes in breaks:
            low, high = bisect_left(places, start + margin), bisect_right(places, end - margin)
            if low < high:
                chosen = places[min(range(low, high), key=hashes.__getitem__)]
                waiting += [(chosen, end), (start, chosen)]
                break
        else:
            yield from cut_bytes(data[start:end], section_bytes)


def _hashed(data: bytes, expression: re.Pattern[bytes]) -> tuple[list[int], list[bytes]]:
    """Places after a break, and a hash of the first words there, whatever white space is between them."""
    places = [match.end() for match in expression.finditer(data)]
    heads = [b" ".join(data[place : place + _LOOK_AHEAD].split()[:_WORDS]) for place in places]
    return places, [hashlib.blake2b(head, digest_size=8).digest() for head in heads]
