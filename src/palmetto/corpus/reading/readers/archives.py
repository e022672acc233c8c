"""WARC, record by record: one whose bytes or whose length are wrong costs itself, and the next begins at its own head.

fastwarc reads a record, but it trusts lengths: so what lies where is settled here.
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
"""Why the last record is not whole."""
NO_RECORD = "no WARC record"
"""The problem of bytes between records."""
_HEAD_BYTES = 1 << 16
"""The longest head of a record, and what is kept of one that is too long."""
_SIGN = 64
"""More than the beginning of a head, with the line breaks before it."""
_CHUNK = 1 << 16


class Raw(NamedTuple):
    """A record as it lies there, or bytes that are none."""

    data: bytes
    """Head and block; where there is a problem, their beginning."""
    size: int
    problem: str | None = None
    is_long: bool = False
    """True where the problem is its length alone."""


def split(file: IO[bytes], resumed: bool) -> Iterator[Raw]:
    """Yields the records of an archive, and what lies between them.

    resumed: after a damage; what comes before the first head is then a part of what was damaged.
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
    # A head in which another begins has lost its end.
    if not head or length is None or _HEAD.search(buffer.data, 1, head):
        return _no_record(buffer, "a head without an end" if not head else "a head without its length")
    size = head + int(length.group(1))
    if size > opening.RECORD_BYTES:
        return _long(buffer, size)
    goes_on = buffer.want(size + _SIGN)
    data = buffer.data[:size]
    if len(data) == size and not _holds_another(data, head):
        end = _breaks(buffer.data, size)
        # The last record's line breaks are not always written.
        is_last = not goes_on and end == len(buffer.data)
        if is_last or buffer.data.startswith(_END, size) or _HEAD.match(buffer.data, end):
            buffer.skip(end)
            return Raw(data, size)
    return _no_record(buffer, f"it does not end where its Content-Length says, after {size - head:,} bytes")


def _breaks(data: bytes, start: int) -> int:
    """Returns the end of the line breaks that begin there."""
    return _LINE_BREAKS.match(data, start).end()  # type: ignore[union-attr]


def _holds_another(data: bytes, head: int) -> bool:
    """Returns whether a record's length has swallowed the next: not if the response in it states the same length."""
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
    """A record that is too long to be read, or says that it is: where the next one begins decides."""
    buffer.want(_HEAD_BYTES)
    data = buffer.data[:_HEAD_BYTES]
    found, _ = buffer.skip_to_head()
    if size <= found <= size + _SIGN:
        return Raw(data, found, opening.too_long(size), is_long=True)
    return Raw(data, found, f"it does not end where its Content-Length says, after {size:,} bytes")


class _Buffer:
    """The bytes of a file from a place on, as many as were wanted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.data = b""

    def want(self, size: int) -> bool:
        """Returns whether there are so many bytes; then `data` has them."""
        parts, length = [self.data], len(self.data)
        while length < size and (more := self._file.read(max(size - length, _CHUNK))):
            parts.append(more)
            length += len(more)
        self.data = b"".join(parts) if len(parts) > 1 else self.data
        return length >= size

    def skip(self, size: int) -> None:
        """Goes on behind so many bytes of `data`."""
        self.data = self.data[size:]

    def find_empty_line(self) -> int:
        """Returns the end of the head that `data` begins with; 0 if it does not end."""
        found = _EMPTY_LINE.search(self.data)
        if found is None:
            self.want(_HEAD_BYTES)
            found = _EMPTY_LINE.search(self.data, 0, _HEAD_BYTES)
        return found.end() if found else 0

    def skip_to_head(self) -> tuple[int, bool]:
        """Goes on at the next head; how many bytes lie before it, and whether there is none."""
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
