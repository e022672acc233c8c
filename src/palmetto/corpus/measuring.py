"""Counts the tokens of each document with the corpus's own vocabulary, and draws the sample it is trained on."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from palmetto.corpus import tables
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View
from palmetto.files import room, sha256

_NO_TEXT = pa.table({"text": pa.array([], pa.large_string())})
SAMPLE_BYTES = 64 << 20
"""The size of the text that a vocabulary is trained on."""


class Tokenizer(Protocol):
    """The tokenizer interface that the corpus needs, a picklable value; tokens/counting.py implements it."""

    @property
    def section_bytes(self) -> int:
        """The approximate size of the sections that longer documents are cut into; a run takes each as a document."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the pieces depend on besides the text."""
        ...

    @property
    def size(self) -> int:
        """The number of pieces."""
        ...

    def least(self, texts: Iterable[str]) -> int:
        """Returns the smallest vocabulary size that the texts allow."""
        ...

    def train(self, texts: Iterable[str], path: Path) -> None:
        """Trains a vocabulary and writes it; the same texts in the same order give the same file."""
        ...

    def count(self, path: Path, texts: list[str]) -> list[int]:
        """Returns the tokens of each text in a run, separators included, with the vocabulary at `path`."""
        ...


@dataclass(frozen=True)
class Tokens:
    """The stage that adds the column `tokens`."""

    tokenizer: Tokenizer
    vocabulary: Path
    name: str = "tokens"

    @property
    def identity(self) -> dict[str, Any]:
        """The stage's version and the vocabulary's digest."""
        return {"version": 1, "vocabulary": sha256(self.vocabulary)}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Does nothing."""

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Counts the tokens of each document; drops nothing."""
        counts = self.tokenizer.count(self.vocabulary, documents["text"].to_pylist())
        return pa.table(
            {"dropped": pa.nulls(len(counts), pa.string()), "tokens": pa.array(counts, pa.int64())},
        )


def sample(view: View, sizes: dict[str, int], shares: dict[str, float], engine: Engine, folder: Path) -> Iterator[str]:
    """Yields texts of every source in proportion to its share, about SAMPLE_BYTES in all or as much as there is.

    sizes: the bytes of each source. shares: they sum to 1. The choice depends on the documents' ids alone. Workers draw
    the texts of each shard and store them in `folder`.
    """
    parts = {name: min(1.0, shares[name] * SAMPLE_BYTES / size) for name, size in sizes.items() if size}
    for _ in engine.map(partial(_sample_shard, view, parts, folder), view.shards):
        pass
    for shard in view.shards:
        yield from tables.read(folder / f"{shard}.parquet")["text"].to_pylist()


def _sample_shard(view: View, parts: dict[str, float], folder: Path, shard: str) -> None:
    """Writes the texts drawn from a shard; if none is drawn, no text is read."""
    path = folder / f"{shard}.parquet"
    if path.exists():
        return
    documents = view.read(shard, ["id", "source"])
    drawn = [draw(row["id"], "vocabulary") < parts[row["source"]] for row in documents.to_pylist()]
    texts = view.read(shard, ["text"]).select(["text"]).filter(pa.array(drawn, pa.bool_())) if any(drawn) else _NO_TEXT
    with room(folder):
        tables.write(path, texts)


def draw(document_id: str, purpose: str) -> float:
    """Returns a number in [0, 1), uniform over documents, that depends on the document's id and the purpose alone."""
    digest = hashlib.blake2b(f"{purpose}\0{document_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
