"""Reads a file as a source of its own."""

from pathlib import Path

from palmetto.corpus.reading.dispatch import read
from palmetto.corpus.reading.finding import find
from palmetto.corpus.reading.records import Item
from palmetto.recipe.corpus import Source


def reading_of(path: Path, **source: object) -> list[Item]:
    """Returns all items of the files at a path; their names begin with the file's name."""
    values = Source.model_validate({"paths": [path.name], **source})
    return [item for file in find(values, str(path.parent), "s").files for item in read(file, values)]
