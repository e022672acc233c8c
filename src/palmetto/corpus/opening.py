"""Files opened for reading, decompressed, as far as they are whole: damage ends them, and is kept to be told."""

import bz2
import contextlib
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from palmetto.corpus import kinds
from palmetto.corpus.extras import need

_PIECE = 1 << 14
"""Compressed bytes handed on at a time: what a damaged piece would still have given is lost."""


@contextlib.contextmanager
def opened(path: str) -> Iterator["Opened"]:
    """Opens a path or an address, decompressing by its name. Raises OSError."""
    with cast(IO[bytes], need("fsspec").open(path, "rb").open() if "://" in path else Path(path).open("rb")) as raw:
        compression = kinds.compression(path)
        stream = _Decompressed(raw, compression) if compression else None
        yield Opened(cast(IO[bytes], io.BufferedReader(stream, 1 << 20)) if stream else raw, stream)


class Opened:
    """An open file and what is wrong with it, as far as it has been read."""

    def __init__(self, file: IO[bytes], stream: "_Decompressed | None") -> None:
        self.file = file
        self.compressed = stream is not None
        self._stream = stream

    @property
    def damage(self) -> str | None:
        """Why the file ended before its end."""
        return self._stream.damage if self._stream else None


class _Decompressed(io.RawIOBase):
    """Members (frames) of .gz, .zst or .bz2, one after another; ends where they are damaged or cut short."""

    def __init__(self, raw: IO[bytes], compression: str) -> None:
        self._raw = raw
        self._new_member, self._errors = _members(compression)
        self._member: Any = None
        self._rest = b""  # compressed bytes that the last member left
        self._ready = memoryview(b"")  # decompressed bytes not yet handed out
        self._position = 0
        self.damage: str | None = None

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self.damage is None:
            compressed = self._rest or self._raw.read(_PIECE)
            if not compressed:
                if self._member is not None:
                    self.damage = "cut short"
                break
            self._decompress(compressed)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        self._position += count
        return count

    def _decompress(self, compressed: bytes) -> None:
        if self._member is None:
            # gzip pads with zeros what it writes to tapes.
            compressed = compressed.lstrip(b"\0")
            if not compressed:
                self._rest = b""
                return
            self._member = self._new_member()
        try:
            self._ready = memoryview(self._member.decompress(compressed))
        except self._errors as error:
            self.damage = f"damaged: {error}"
            return
        self._rest = self._member.unused_data
        if self._member.eof:
            self._member = None


def _members(compression: str) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    if compression == ".gz":
        return lambda: zlib.decompressobj(wbits=31), (zlib.error,)
    if compression == ".bz2":
        return bz2.BZ2Decompressor, (OSError,)
    import zstandard

    return lambda: zstandard.ZstdDecompressor().decompressobj(), (zstandard.ZstdError,)
