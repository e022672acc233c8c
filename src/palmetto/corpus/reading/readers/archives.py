"""Splits WARC files into records; a record with damaged bytes or a wrong length does not affect those after it.

fastwarc parses single records, but trusts their lengths; so the boundaries are determined here.
"""

import re
from collections.abc import Iterator
from typing import IO, NamedTuple

from palmetto.corpus.reading import opening

_HEAD = re.compile(rb"WARC/\d\.\d+[ \t]*\r?\n(?=[A-Za-z-]{1,40}:)")
_NEXT = re.compile(rb"\r?\n\r?\n" + _HEAD.pattern)
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_LINE_BREAKS = re.compile(rb"[\r\n]*")
_END = b"\r\n\r\n"
CUT_SHORT = "cut short"
"""The problem of a last record that is incomplete."""
NO_RECORD = "no WARC record"
"""The problem of bytes between records."""
_HEAD_BYTES = 1 << 16
"""The size of the longest head of a record, and of what is kept of a record that is too long."""
_SIGN = 64
"""More bytes than the beginning of a head with the line breaks before it."""
_CHUNK = 1 << 16


class Raw(NamedTuple):
    """The bytes of a record, or bytes between records."""

    data: bytes
    """The head and the block, or only their beginning if there is a problem."""
    size: int
    problem: str | None = None
    is_long: bool = False
    """True if the only problem is the length."""


def split(file: IO[bytes], resumed: bool) -> Iterator[Raw]:
    """Yields the records of an archive, and the bytes between them.

    resumed: whether damage comes before; then bytes before the first head belong to the damage and are skipped.
    """
    buffer = _Buffer(file)
    buffer.want(_SIGN)
    buffer.skip(_breaks(buffer.data, 0))
    if resumed and not _HEAD.match(buffer.data):
        buffer.skip_to_head()
    while buffer.want(1):
        buffer.want(_SIGN)
        yield _record(buffer) if _HEAD.match(buffer.data) else _no_record(buffer, NO_RECORD)


def _record(buffer: "_Buffer") -> Raw:
    head = buffer.find_empty_line()
    length = _LENGTH.search(buffer.data, 0, head)
    # If another head begins in a head, its end is lost.
    if not head or length is None or _HEAD.search(buffer.data, 1, head):
        return _no_record(buffer, "a head without an end" if not head else "a head without its length")
    size = head + int(length.group(1))
    if size > opening.RECORD_BYTES:
        return _long(buffer, size)
    goes_on = buffer.want(size + _SIGN)
    data = buffer.data[:size]
    if len(data) == size and not _holds_another(data, head):
        end = _breaks(buffer.data, size)
        # Some writers omit the line breaks after the last record.
        is_last = not goes_on and end == len(buffer.data)
        if is_last or buffer.data.startswith(_END, size) or _HEAD.match(buffer.data, end):
            buffer.skip(end)
            return Raw(data, size)
    return _no_record(buffer, f"it does not end where its Content-Length says, after {size - head:,} bytes")


def _breaks(data: bytes, start: int) -> int:
    """Returns the end of the line breaks that begin at `start`."""
    return _LINE_BREAKS.match(data, start).end()  # type: ignore[union-attr]


def _holds_another(data: bytes, head: int) -> bool:
    """Returns whether a record contains the head of the next, so that its length is wrong.

    It does not if the response in it states the same length.
    """
    if b"\nWARC/" not in data or not _NEXT.search(data, head):
        return False
    inner = _EMPTY_LINE.search(data, head)
    stated = _LENGTH.search(data, head, inner.end()) if inner else None
    return not (inner and stated and inner.end() + int(stated.group(1)) == len(data))


def _no_record(buffer: "_Buffer", problem: str) -> Raw:
    data = buffer.data[:_HEAD_BYTES]
    size, ended = buffer.skip_to_head()
    return Raw(data, size, CUT_SHORT if ended and _HEAD.match(data) else problem)


def _long(buffer: "_Buffer", size: int) -> Raw:
    """Returns a record that is too long, or whose length is wrong, which the position of the next head decides."""
    buffer.want(_HEAD_BYTES)
    data = buffer.data[:_HEAD_BYTES]
    found, _ = buffer.skip_to_head()
    if size <= found <= size + _SIGN:
        return Raw(data, found, opening.too_long(size), is_long=True)
    return Raw(data, found, f"it does not end where its Content-Length says, after {size:,} bytes")


class _Buffer:
    """A window of a file that starts at the current position."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.data = b""

    def want(self, size: int) -> bool:
        """Reads until `data` has at least `size` bytes; returns whether the file has that many."""
        parts, length = [self.data], len(self.data)
        while length < size and (more := self._file.read(max(size - length, _CHUNK))):
            parts.append(more)
            length += len(more)
        self.data = b"".join(parts) if len(parts) > 1 else self.data
        return length >= size

    def skip(self, size: int) -> None:
        """Advances by `size` bytes."""
        self.data = self.data[size:]

    def find_empty_line(self) -> int:
        """Returns the end of the head at the beginning of `data`, or 0 if it has none."""
        found = _EMPTY_LINE.search(self.data)
        if found is None:
            self.want(_HEAD_BYTES)
            found = _EMPTY_LINE.search(self.data, 0, _HEAD_BYTES)
        return found.end() if found else 0

    def skip_to_head(self) -> tuple[int, bool]:
        """Advances to the next head; returns the number of bytes before it, and whether the file ended first."""
        skipped, start = 0, 1
        while (found := _HEAD.search(self.data, start)) is None:
            kept = max(0, len(self.data) - _SIGN)
            self.skip(kept)
            skipped, start = skipped + kept, max(0, start - kept)
            if not self.want(len(self.data) + 1):
                size, self.data = skipped + len(self.data), b""
                return size, True
        self.skip(found.start())
        return skipped + found.start(), False
