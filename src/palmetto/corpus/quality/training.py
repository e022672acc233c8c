"""Reads the texts that the classifier is trained on and evaluated with; a tenth of the documents is held out by
hash.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from palmetto.corpus.documents import cut
from palmetto.corpus.quality.classifier import Classifier
from palmetto.corpus.reading.dispatch import read as read_file
from palmetto.corpus.reading.finding import Problem, find
from palmetto.corpus.reading.records import Record
from palmetto.corpus.stage import Say
from palmetto.errors import UserError
from palmetto.recipe.corpus import Source

SECTION_BYTES = 4096
"""The approximate size of the sections that documents are cut into, so that length does not reveal the side."""
FIELDS = ("text",)
"""The fields of records that hold the text, as in a recipe's `Source.text`."""
_HELD_OUT = 0.1
_SHOWN = 3


def complain(text: str) -> None:
    """Prints a message to standard error."""
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class Text:
    """A section of a document, or all of it."""

    name: str
    text: str
    held_out: bool


def read(paths: Sequence[str], fields: Sequence[str], say: Say) -> Iterator[Text]:
    """Yields the documents at the given files, folders and addresses, in sections.

    All kinds of file that a corpus can be built from are read; what cannot be read is reported through `say`. The
    sections of a document are held out together. Raises UserError if there is nothing to read.
    """
    for document in _documents(paths, fields, say):
        held_out = is_held_out(document.text)
        sections = cut(document.text, SECTION_BYTES)
        for number, section in enumerate(sections, 1):
            if section.strip():
                name = document.name if len(sections) == 1 else f"{document.name}#{number}"
                yield Text(name, section, held_out)


def _documents(paths: Sequence[str], fields: Sequence[str], say: Say) -> Iterator[Record]:
    if "" in paths:
        raise UserError("an empty path is no text; give a file or a folder (`.` is this one)")
    source = Source(paths=tuple(paths), text=tuple(fields))
    try:
        found = find(source, None, "quality")
    except UserError as error:
        raise UserError(str(error).removeprefix("corpus.build.sources.quality.paths: ")) from None
    problems = list(found.problems)
    for file in found.files:
        for item in read_file(file, source):
            if isinstance(item, Record):
                yield item
            elif isinstance(item, Problem):
                problems.append(item)
    for problem in problems[:_SHOWN]:
        say(f"not read: {problem.name} ({problem.reason})")
    if len(problems) > _SHOWN:
        say(f"not read: {len(problems) - _SHOWN:,} more")


def is_held_out(text: str) -> bool:
    """Returns whether a document is in the tenth that is held out, which its text's hash decides."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) < _HELD_OUT * 2**64


def train(
    curated: Sequence[str], other: Sequence[str], out: Path, say: Say, fields: Sequence[str] = FIELDS
) -> Classifier:
    """Trains a classifier on the documents that are not held out, and writes it to `out`."""
    sides = []
    for name, paths in (("curated", curated), ("other", other)):
        texts = list(read(paths, fields, say))
        trained_on = [each.text for each in texts if not each.held_out]
        say(f"{name}: {len(trained_on):,} texts to train on, {len(texts) - len(trained_on):,} held out")
        if not trained_on:
            raise UserError(f"{' '.join(paths)}: too few documents to train on")
        sides.append(trained_on)
    classifier = Classifier.train(*sides)
    classifier.save(out)
    say(f"{out}: written")
    return classifier


def score(file: Path, path: str, say: Say = complain, fields: Sequence[str] = FIELDS) -> Iterator[tuple[str, float]]:
    """Yields (name, score) of every document, uncut, in order."""
    classifier = Classifier.load(file)
    for document in _documents([path], fields, say):
        yield document.name, float(classifier.score([document.text])[0])
