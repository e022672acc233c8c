"""Texts of both sides, to train on and to evaluate with: a tenth of the documents, by their hash, is held out."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from palmetto.corpus import documents
from palmetto.corpus.quality.classifier import Classifier
from palmetto.corpus.stage import Say
from palmetto.errors import UserError

SECTION_BYTES = 4096
"""Longer documents are cut into sections of about this many bytes, so that length does not give the sides away."""
_HELD_OUT = 0.1
_WHOLE = 1 << 62


@dataclass(frozen=True)
class Text:
    """A section of a document, or all of it."""

    name: str
    text: str
    held_out: bool


def read(sources: Sequence[str]) -> Iterator[Text]:
    """The documents of files and folders, in sections. All of one are held out, or none.

    UserError where there is nothing to read.
    """
    for source in sources:
        for document in documents.read(source, _WHOLE):
            held_out = is_held_out(document.text)
            sections = documents.cut(document.text, SECTION_BYTES)
            for number, section in enumerate(sections, 1):
                if section.strip():
                    name = document.name if len(sections) == 1 else f"{document.name}#{number}"
                    yield Text(name, section, held_out)


def is_held_out(text: str) -> bool:
    """Whether a document belongs to the tenth that evaluates: by the hash of its text, wherever it lies."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) < _HELD_OUT * 2**64


def train(curated: Sequence[str], other: Sequence[str], out: Path, say: Say) -> Classifier:
    """Trains a classifier on all but the documents held out, and writes it. Sources as `documents.read` takes them."""
    sides = []
    for name, sources in (("curated", curated), ("other", other)):
        texts = list(read(sources))
        trained_on = [each.text for each in texts if not each.held_out]
        say(f"{name}: {len(trained_on):,} texts to train on, {len(texts) - len(trained_on):,} held out")
        if not trained_on:
            raise UserError(f"{' '.join(sources)}: too few documents to train on")
        sides.append(trained_on)
    classifier = Classifier.train(*sides)
    classifier.save(out)
    say(f"{out}: written")
    return classifier


def score(file: Path, source: str) -> Iterator[tuple[str, float]]:
    """(name, score) of every document of a file or folder, whole, in order."""
    classifier = Classifier.load(file)
    for document in documents.read(source, _WHOLE):
        yield document.name, float(classifier.score([document.text])[0])
