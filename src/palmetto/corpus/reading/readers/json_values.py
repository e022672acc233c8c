"""Reads JSON values incrementally, from an array or a sequence; a broken value does not affect those after it."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from palmetto.corpus.reading import encoding, opening

_CHUNK = 1 << 20
_NEAR_END = 16
"""The distance from the end, in characters, within which an error may only mean that more must be read."""
_BETWEEN = re.compile(r"[\s,]*")
_OBJECT = re.compile(r'\{\s*"')
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:')
_LONGEST_KEY = 1024
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


class Broken(NamedTuple):
    """Text that is no JSON value: the reason and its bytes."""

    reason: str
    size: int


class Values:
    """Reads the values of a file; memory holds the longest value.

    After a broken value, reading resumes at the next object that begins with the same key as the first object did, or,
    if there was none, at one that is `wanted`. So objects nested in a broken one are not taken for records.
    """

    def __init__(self, wanted: Callable[[Any], bool]) -> None:
        self._wanted = wanted
        self._sign = _OBJECT

    def read(self, file: IO[bytes], resumed: bool = False) -> Iterator[Any]:
        """Yields values, and Broken for text that is none.

        resumed: whether the file begins within a value, which is then skipped. Raises Undecodable if the rest cannot be
        decoded because UTF-16 or UTF-32 is broken.
        """
        decode = _decoder(file)
        text, position, ended = "", 0, False
        within: bool | None = resumed or None
        broken = Broken("", 0) if resumed else None
        while True:
            if broken is None:
                position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
                if position < len(text) and within is None:
                    within = text[position] == "["
                    position += within
                    continue
                if within and text[position : position + 1] == "]":
                    within, position = None, position + 1
                    continue
                found = None
            else:
                found = self._sign.search(text, position)
                # The beginning of an object may continue in the next piece.
                at = found.start() if found else max(position, len(text) - _LONGEST_KEY)
                broken = broken._replace(size=broken.size + _size(text[position:at]))
                position = at
            if position < len(text) and (broken is None or found):
                try:
                    value, end = self._parse(text, position, ended)
                except _Unfinished:
                    pass
                except encoding.Undecodable as error:
                    broken = broken or Broken(str(error), 0)
                    broken = broken._replace(size=broken.size + _size(text[position]))
                    position += 1
                    continue
                else:
                    if broken is None or self._resumes(value):
                        if broken is not None and broken.reason:
                            yield broken
                        broken = None
                        if self._sign is _OBJECT and (key := _FIRST_KEY.match(text, position, end)):
                            self._sign = re.compile(r"\{\s*" + re.escape(key.group(1)) + r"\s*:")
                        yield value
                        del value
                    else:
                        broken = broken._replace(size=broken.size + _size(text[position:end]))
                    position = end
                    continue
            if ended:
                if broken is not None and broken.reason:
                    yield broken._replace(size=broken.size + _size(text[position:]))
                elif within and not resumed:
                    yield Broken("the array does not end", 0)
                return
            chunk = file.read(max(_CHUNK, len(text) - position))
            ended = not chunk
            try:
                more = decode(chunk, ended)
            except encoding.Undecodable as error:
                rest = sum(map(len, iter(lambda: file.read(_CHUNK), b"")))
                raise encoding.Undecodable(str(error), _size(text[position:]) + len(chunk) + rest) from None
            text, position = text[position:] + more, 0

    def _resumes(self, value: Any) -> bool:
        return self._sign is not _OBJECT or self._wanted(value)

    def _parse(self, text: str, position: int, ended: bool) -> tuple[Any, int]:
        """Returns a value and its end; raises _Unfinished if more must be read, Undecodable if it is no value."""
        try:
            value, end = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            unfinished = error.pos >= len(text) - _NEAR_END or error.msg.startswith("Unterminated string")
            if unfinished and not ended:
                if len(text) - position <= opening.RECORD_BYTES:
                    raise _Unfinished from None
                raise encoding.Undecodable(opening.too_long(len(text) - position)) from None
            raise encoding.Undecodable(f"{error.msg} at character {error.pos - position} of it") from None
        except RecursionError:
            raise encoding.Undecodable("nested too deeply") from None
        except ValueError as error:  # a number of thousands of digits
            raise encoding.Undecodable(str(error)) from None
        # A number may continue.
        if end == len(text) and not ended:
            raise _Unfinished
        if _ESCAPED_BYTE.search(text, position, end):
            value = _of_bytes(text[position:end].encode("utf-8", "surrogateescape"))
        return value, end


class _Unfinished(Exception):
    """Raised if more must be read."""


_DECODER = json.JSONDecoder()


def _of_bytes(data: bytes) -> Any:
    """Returns a value that is in another encoding than the rest."""
    try:
        return json.loads(encoding.decode(data))
    except json.JSONDecodeError as error:
        raise encoding.Undecodable(str(error)) from None


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _decoder(file: IO[bytes]) -> Callable[[bytes, bool], str]:
    """Returns an incremental decoder for the file's byte order mark; invalid bytes become surrogates."""
    start = file.read(4)
    length, name = encoding.mark(start) or (0, "utf-8")
    errors = "surrogateescape" if name == "utf-8" else "surrogatepass"
    decoder = codecs.getincrementaldecoder(name)(errors)
    waiting = [start[length:]]

    def decode(data: bytes, final: bool) -> str:
        try:
            return decoder.decode((waiting.pop() if waiting else b"") + data, final)
        except UnicodeDecodeError:
            raise encoding.Undecodable(f"broken {name.upper()}") from None

    return decode
