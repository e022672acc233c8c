"""Reads JSON Lines, and arrays of JSON objects incrementally."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from palmetto.corpus.reading import encoding, opening
from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.opening import Opened, opened
from palmetto.corpus.reading.readers import fields
from palmetto.corpus.reading.readers.fields import record
from palmetto.corpus.reading.readers.json_values import Broken, Values
from palmetto.corpus.reading.records import Item
from palmetto.corpus.rules.licences.files import place
from palmetto.corpus.rules.licences.repository import RecordedLicences
from palmetto.recipe.corpus import Source

_EMPTY = object()
_PATH = re.compile(rb'"(?:max_stars_repo_)?path"\s*:\s*"((?:[^"\\]|\\.)*)"')


def read_lines(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields a record per line; each line is decoded in its own encoding."""
    licences = _recorded_licences(file, source) if source.kind == "code" else None
    number = 0
    for stretch, part in enumerate(stream.stretches()):
        begun = number
        for line in encoding.Lines(part):
            number += 1
            name = f"{file.name}:{number}"
            try:
                values = _parsed(line)
            except encoding.Undecodable as error:
                # The first and the last line of a damaged stretch may be incomplete.
                whole = not isinstance(line, str) or line.endswith("\n")
                if (whole or not stream.damage) and (number > begun + 1 or stretch == 0):
                    yield Problem(file.source, name, str(error), error.size)
                continue
            del line
            if values is not _EMPTY:
                yield record(values, name, file, source, licences)
            del values


def _parsed(line: str | encoding.Undecodable) -> Any:
    """Returns the value of a line, or _EMPTY for a blank line; raises Undecodable."""
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


def _recorded_licences(file: File, source: Source) -> RecordedLicences:
    """Returns what the licence files of the repositories state; they may come after the code."""
    licences = RecordedLicences()
    with opened(file.path) as stream:
        for line in itertools.chain.from_iterable(map(opening.lines, stream.stretches())):
            if isinstance(line, int):
                continue
            found = _PATH.search(line)
            if not found or place(found[1].decode(errors="replace")) is None:
                continue
            try:
                values = json.loads(encoding.decode(line))
            except (ValueError, RecursionError):
                continue
            if isinstance(values, dict) and (where := fields.place(values)):
                text = next((values[field] for field in source.text if isinstance(values.get(field), str)), "")
                licences.add(where, text)
    return licences


def read_array(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields a record per object of an array, or of a sequence of objects."""
    values = Values(lambda value: isinstance(value, dict) and not set(source.text).isdisjoint(value))
    number = 0
    for stretch, part in enumerate(stream.stretches()):
        try:
            for value in values.read(part, resumed=stretch > 0):
                if isinstance(value, Broken) and stream.damage:
                    continue  # the damage itself is reported
                number += 1
                name = f"{file.name}:{number}"
                if isinstance(value, Broken):
                    yield Problem(file.source, name, f"not JSON ({value.reason})", value.size)
                else:
                    yield record(value, name, file, source)
                del value
        except encoding.Undecodable as error:
            yield Problem(file.source, f"{file.name}:{number + 1}", f"not JSON ({error})", error.size)
