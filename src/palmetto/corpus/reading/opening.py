"""Opens files for reading and decompresses them.

Damage ends a stretch of readable data and is recorded for the report; the next stretch begins at the next intact member
(frame).
"""

import bz2
import contextlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import zstandard

from palmetto.corpus.extras import need
from palmetto.corpus.reading import kinds

RECORD_BYTES = 1 << 28
"""The length of the longest record (a line, a page, a message, a row) that is read."""
RATIO = 20
"""The greatest ratio of decompressed to compressed size of a file that is one document and longer than RECORD_BYTES.

Text compresses to a tenth, a decompression bomb to a thousandth.
"""
_PIECE = 1 << 11
"""Compressed bytes passed to the decoder at a time; zstd can make 60 MB of them.

Output that a damaged piece would still have given is lost.
"""
_SURE = 1 << 16
"""The bytes that a member must yield, unless it ends earlier, to be recognized as one after damage."""
_LOOK_BACK = 1 << 20
"""Compressed bytes before the damage that are searched for the next member; more than a block of any format."""
_CHUNK = 1 << 20
CUT_SHORT = "cut short"
"""The damage of a file that ends within a member."""


class TooLong(ValueError):
    """Raised for a record, or a file that is one document, that is too long to be read."""


class Damage(NamedTuple):
    """The reason why a stretch of a compressed file cannot be read, its compressed bytes, and whether more data
    follow.
    """

    reason: str
    size: int
    goes_on: bool = False

    def __str__(self) -> str:
        return f"{self.reason}; what comes before{' and after' if self.goes_on else ''} is kept"


@contextlib.contextmanager
def opened(path: str) -> Iterator["Opened"]:
    """Opens a path or an address and decompresses it according to its name; raises OSError."""
    with cast(IO[bytes], need("fsspec").open(path, "rb").open() if "://" in path else Path(path).open("rb")) as raw:
        compression = kinds.compression(path)
        stream = _Decompressed(raw, compression) if compression else None
        yield Opened(cast(IO[bytes], io.BufferedReader(stream, 1 << 20)) if stream else raw, stream)


class Opened:
    """An open file, with the damage found so far."""

    def __init__(self, file: IO[bytes], stream: "_Decompressed | None") -> None:
        self.file = file
        self.compressed = stream is not None
        self._stream = stream

    @property
    def damage(self) -> str | None:
        """Returns the reason why the current stretch ends before the file does, or None."""
        return self._stream.damage if self._stream else None

    @property
    def torn(self) -> bool:
        """True if the stretch ends within a member, so that its last record cannot be trusted."""
        return self.damage is not None and self._stream is not None and self._stream.given

    @property
    def damages(self) -> list[Damage]:
        """All damage found so far."""
        return self._stream.damages if self._stream else []

    def stretches(self) -> Iterator[IO[bytes]]:
        """Yields the file, and again after each damage, then positioned at the next intact member."""
        yield self.file
        while self._stream and self._stream.damage is not None and self._stream.resume():
            yield self.file

    def whole(self) -> bytes:
        """Returns the rest of the current stretch; raises TooLong for a decompression bomb."""
        return b"".join(self.pieces(is_record=True)) if self._stream else self.file.read()

    def pieces(self, is_record: bool) -> Iterator[bytes]:
        """Yields these bytes in pieces; raises TooLong only if they are to be one record."""
        length = 0
        while piece := self.file.read(_CHUNK):
            length += len(piece)
            if is_record and self._stream and length > max(RECORD_BYTES, RATIO * self._stream.taken):
                raise TooLong(
                    f"{self._stream.taken:,} compressed bytes give more than {length:,}, as those of a "
                    "decompression bomb do; if it is text, decompress it"
                )
            yield piece


def lines(file: IO[bytes]) -> Iterator[bytes | int]:
    """Yields the lines of a file with their line breaks; for a line longer than RECORD_BYTES, only its length."""
    while line := file.readline(RECORD_BYTES):
        if len(line) < RECORD_BYTES or line.endswith(b"\n"):
            yield line
            continue
        length = len(line)
        while not line.endswith(b"\n") and (line := file.readline(_CHUNK)):
            length += len(line)
        yield length


def too_long(length: int) -> str:
    """Returns why a record of that length is not read, for a report."""
    return f"a record of {length:,} bytes, more than the {RECORD_BYTES:,} that are read"


class _Decompressed(io.RawIOBase):
    """The members (frames) of a .gz, .zst or .bz2 file in sequence; ends at damage until it is resumed."""

    def __init__(self, raw: IO[bytes], compression: str) -> None:
        self._raw = raw
        self._format = _FORMATS[compression]
        self._member: Any = None
        self._rest = b""  # compressed bytes after the end of the last member
        self._seen = bytearray()  # compressed bytes of the member, at least the last _LOOK_BACK of them
        self._ready = memoryview(b"")  # decompressed bytes not yet returned
        self.taken = 0
        """The number of compressed bytes read."""
        self.given = False
        """True if the member has yielded any bytes."""
        self.damage: str | None = None
        self.damages: list[Damage] = []

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self.damage is None:
            if self._member is not None and not _needs_input(self._member):
                self._decompress(b"")
                continue
            compressed = self._rest or self._read()
            if not compressed:
                if self._member is not None:
                    self._end(CUT_SHORT, 0)
                break
            self._decompress(compressed)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _read(self) -> bytes:
        data = self._raw.read(_PIECE)
        self.taken += len(data)
        return data

    def _decompress(self, compressed: bytes) -> None:
        if self._member is None:
            # gzip files on tapes are padded with zeros.
            compressed = compressed.lstrip(b"\0")
            if not compressed:
                self._rest = b""
                return
            self._member, self._seen, self.given = self._format.member(), bytearray(), False
        self._seen += compressed
        if len(self._seen) > 2 * _LOOK_BACK:
            del self._seen[:-_LOOK_BACK]
        try:
            self._ready = memoryview(self._member.decompress(compressed, *self._format.limit))
        except self._format.errors as error:
            self._end(f"damaged: {error}", len(compressed))
            return
        self.given = self.given or len(self._ready) > 0
        self._rest = self._member.unused_data
        if self._member.eof:
            self._member = None

    def _end(self, damage: str, size: int) -> None:
        self.damage, self._member = damage, None
        self.damages.append(Damage(damage, size))

    def resume(self) -> bool:
        """Continues at the next member after damage; returns False if there is none.

        The decoder may have read past the beginning of the next member before it noticed the damage.
        """
        reason, size, _ = self.damages[-1]
        data, start = bytes(self._seen), 1
        lost = size - len(data)  # from where the damage was noticed to the beginning of `data`
        while True:
            if found := self._format.begins.search(data, start):
                start = found.start()
                begun, data = self._begin(data, start)
                if begun:
                    break
                start += 1
                continue
            # The beginning of a member may continue in the next piece.
            kept, more = data[-_SIGN:], self._read()
            lost, data, start = lost + len(data) - len(kept), kept + more, 0
            if not more:
                start = len(data)
                break
        goes_on = start < len(data)
        size = max(0, lost + start)
        if reason == CUT_SHORT:
            # The missing size is unknown; half of what is there is assumed.
            size = 0 if goes_on else self.taken // 2
        self.damages[-1] = Damage(reason, size, goes_on)
        if goes_on:
            self.damage = None
        return goes_on

    def _begin(self, data: bytes, start: int) -> tuple[bool, bytes]:
        """Returns whether a member begins at `start` in `data`, and the data with what was read to tell; if so,
        continues there.
        """
        member, ready, at = self._format.member(), b"", start
        while not member.eof and len(ready) < _SURE:
            if at == len(data) and _needs_input(member):
                data += self._read()
                if at == len(data):
                    break
            piece = data[at : at + _PIECE] if _needs_input(member) else b""
            try:
                ready += member.decompress(piece, *self._format.limit)
            except self._format.errors:
                return False, data
            at += len(piece)
        self._rest = (member.unused_data if member.eof else b"") + data[at:]
        self._seen = bytearray(data[start:at])
        self._member, self._ready, self.given = None if member.eof else member, memoryview(ready), bool(ready)
        return True, data


def _needs_input(member: Any) -> bool:
    """Returns whether a decoder has returned all its output; one without a limit always has."""
    return bool(getattr(member, "needs_input", True))


class _Format(NamedTuple):
    """A compression format: the decoder of its members, its errors, and the bytes that members begin with."""

    member: Callable[[], Any]
    errors: tuple[type[Exception], ...]
    begins: re.Pattern[bytes]
    limit: tuple[int, ...] = ()
    """The number of bytes decompressed at a time, for formats in which a piece could give too many."""


_WINDOW = 1 << 31
"""The largest window of zstd (`zstd --long=31`)."""
_SIGN = 9
"""The length of the longest beginning of a member, minus one byte."""
_FORMATS = {
    ".gz": _Format(lambda: zlib.decompressobj(wbits=31), (zlib.error,), re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")),
    ".zst": _Format(
        lambda: zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj(),
        (zstandard.ZstdError,),
        re.compile(rb"\x28\xb5\x2f\xfd"),
    ),
    ".bz2": _Format(
        bz2.BZ2Decompressor,
        (OSError,),
        re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"),
        limit=(1 << 20,),
    ),
}
