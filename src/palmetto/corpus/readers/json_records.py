"""JSON: an object a line, or an array of objects in one piece, read as it comes."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from palmetto.corpus import encoding
from palmetto.corpus.finding import File, Problem
from palmetto.corpus.licences.files import place
from palmetto.corpus.licences.repository import Shelf
from palmetto.corpus.opening import Opened, opened
from palmetto.corpus.readers import fields
from palmetto.corpus.readers.fields import record
from palmetto.corpus.records import Item
from palmetto.recipe.corpus import Source

_CHUNK = 1 << 20
_NEAR_END = 16
"""Characters: an error so near the end may be one because the rest is still to come."""
_BETWEEN = re.compile(r"[\s,]*")
_PATH = re.compile(rb'"(?:max_stars_repo_)?path"\s*:\s*"((?:[^"\\]|\\.)*)"')


def read_lines(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """An object a line. Lines in another encoding than the rest are read in theirs."""
    shelf = _shelf(file, source) if source.kind == "code" else None
    for number, line in enumerate(encoding.Lines(stream.file), 1):
        name = f"{file.name}:{number}"
        if isinstance(line, encoding.Undecodable):
            yield Problem(file.source, name, str(line))
            continue
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            # Of a damaged file the last line is no line of its own.
            if not stream.damage or line.endswith("\n"):
                yield Problem(file.source, name, f"not JSON ({_short(error)})")
        else:
            del line
            yield record(values, name, file, source, shelf)


def _shelf(file: File, source: Source) -> Shelf:
    """What repositories say of their licences in files of their own, which may come after the code."""
    shelf = Shelf()
    with opened(file.path) as stream:
        for line in stream.file:
            found = _PATH.search(line)
            if not found or place(found[1].decode(errors="replace")) is None:
                continue
            try:
                values = json.loads(encoding.decode(line))
            except (ValueError, RecursionError):
                continue
            if isinstance(values, dict) and (where := fields.place(values)):
                text = next((values[field] for field in source.text if isinstance(values.get(field), str)), "")
                shelf.add(where, text)
    return shelf


def read_array(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """The objects of an array, or one after another."""
    number = 0
    try:
        for number, values in enumerate(_values(stream.file), 1):
            yield record(values, f"{file.name}:{number}", file, source)
    except (ValueError, RecursionError) as error:
        if not stream.damage:
            yield Problem(file.source, f"{file.name}:{number + 1}", f"not JSON ({_short(error)})")


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _values(file: IO[bytes]) -> Iterator[Any]:
    """One value after another, in memory as much as the longest takes. Raises ValueError where it is none."""
    start = file.read(4)
    length, name = encoding.mark(start) or (0, "utf-8")
    decoder = codecs.getincrementaldecoder(name)()
    parse = json.JSONDecoder().raw_decode
    text, position, ended = decoder.decode(start[length:]), 0, False
    within = None
    while True:
        position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
        if position < len(text) and within is None:
            within = text[position] == "["
            position += within
            continue
        if within and text[position : position + 1] == "]":
            within, position = None, position + 1
            continue
        if position < len(text):
            try:
                value, end = parse(text, position)
            except json.JSONDecodeError as error:
                unfinished = error.pos >= len(text) - _NEAR_END or error.msg.startswith("Unterminated string")
                if ended or not unfinished:
                    raise ValueError(f"{error.msg} at character {error.pos - position} of it") from None
            else:
                # A number may go on.
                if ended or end < len(text):
                    yield value
                    del value
                    position = end
                    continue
        if ended:
            if within:
                raise ValueError("the array does not end")
            return
        chunk = file.read(max(_CHUNK, len(text) - position))
        ended = not chunk
        text, position = text[position:] + decoder.decode(chunk, ended), 0
