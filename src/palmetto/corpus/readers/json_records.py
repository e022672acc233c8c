"""JSON: an object a line, or an array of objects in one piece, read as it comes."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from palmetto.corpus import encoding, licences, opening
from palmetto.corpus.finding import File, Problem
from palmetto.corpus.opening import Opened, opened
from palmetto.corpus.readers.fields import Shelf, record
from palmetto.corpus.readers.json_values import Broken, Values
from palmetto.corpus.records import Item
from palmetto.recipe.corpus import Source

_EMPTY = object()
_LICENCE_PATH = re.compile(rb'"path"\s*:\s*"(?:[^"]*/)?(?:(?:un)?licen[cs]e|copying)', re.IGNORECASE)


def read_lines(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """An object a line. Lines in another encoding than the rest are read in theirs."""
    shelf = _shelf(file) if source.kind == "code" else None
    number = 0
    for stretch, part in enumerate(stream.stretches()):
        begun = number
        for line in encoding.Lines(part):
            number += 1
            name = f"{file.name}:{number}"
            try:
                values = _parsed(line)
            except encoding.Undecodable as error:
                # The first and the last line of a damaged stretch may be no lines of their own.
                whole = not isinstance(line, str) or line.endswith("\n")
                if (whole or not stream.damage) and (number > begun + 1 or stretch == 0):
                    yield Problem(file.source, name, str(error), error.size)
                continue
            del line
            if values is not _EMPTY:
                yield record(values, name, file, source, shelf)
            del values


def _parsed(line: str | encoding.Undecodable) -> Any:
    """The value of a line, _EMPTY of none; raises Undecodable."""
    if isinstance(line, encoding.Undecodable):
        raise line
    if not line.strip():
        return _EMPTY
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise encoding.Undecodable(
            f"not JSON ({'nested too deeply' if isinstance(error, RecursionError) else error})",
            len(line.encode(errors="surrogatepass")),
        ) from None


def _shelf(file: File) -> Shelf:
    """Licences that repositories state in files of their own, which may come after the code."""
    shelf: dict[str, list[str]] = {}
    with opened(file.path) as stream:
        for line in itertools.chain.from_iterable(map(opening.lines, stream.stretches())):
            if isinstance(line, int) or not _LICENCE_PATH.search(line):
                continue
            try:
                values = json.loads(encoding.decode(line))
                path, text = f"{values['repo']}/{values['path']}", values["text"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            folder, _, name = path.rpartition("/")
            if isinstance(text, str) and licences.is_licence_file(name) and (found := licences.recognized(text)):
                shelf.setdefault(folder, []).append(found)
    return {folder: joined for folder, found in shelf.items() if (joined := licences.joined(found))}


def read_array(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """The objects of an array, or one after another."""
    values = Values(lambda value: isinstance(value, dict) and not set(source.text).isdisjoint(value))
    number = 0
    for stretch, part in enumerate(stream.stretches()):
        try:
            for value in values.read(part, resumed=stretch > 0):
                if isinstance(value, Broken) and stream.damage:
                    continue  # the damage is told by itself
                number += 1
                name = f"{file.name}:{number}"
                if isinstance(value, Broken):
                    yield Problem(file.source, name, f"not JSON ({value.reason})", value.size)
                else:
                    yield record(value, name, file, source)
                del value
        except encoding.Undecodable as error:
            yield Problem(file.source, f"{file.name}:{number + 1}", f"not JSON ({error})")
