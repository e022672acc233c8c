"""How many tokens a document makes, by the vocabulary that is trained on it."""

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
"""Of text that a vocabulary is trained on."""


class Tokenizer(Protocol):
    """What the corpus needs of a vocabulary; a value that can be pickled (tokens/counting.py)."""

    @property
    def section_bytes(self) -> int:
        """Longer documents are cut into sections of about this many bytes, each a document to a run."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """What of it the pieces depend on besides the text."""
        ...

    @property
    def size(self) -> int:
        """Its pieces."""
        ...

    def least(self, texts: Iterable[str]) -> int:
        """The smallest size that texts allow."""
        ...

    def train(self, texts: Iterable[str], path: Path) -> None:
        """Writes a vocabulary; the same texts in the same order give the same file."""
        ...

    def count(self, path: Path, texts: list[str]) -> list[int]:
        """Tokens of each text as a run takes them, with those between documents, by the vocabulary at `path`."""
        ...


@dataclass(frozen=True)
class Tokens:
    """Notes `tokens`."""

    tokenizer: Tokenizer
    vocabulary: Path
    name: str = "tokens"

    @property
    def identity(self) -> dict[str, Any]:
        """The vocabulary's digest."""
        return {"version": 1, "vocabulary": sha256(self.vocabulary)}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Nothing."""

    def note(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Counts; nothing is dropped."""
        counts = self.tokenizer.count(self.vocabulary, documents["text"].to_pylist())
        return pa.table(
            {"dropped": pa.nulls(len(counts), pa.string()), "tokens": pa.array(counts, pa.int64())},
        )


def sample(view: View, sizes: dict[str, int], shares: dict[str, float], engine: Engine, folder: Path) -> Iterator[str]:
    """Texts of every source in its share, about SAMPLE_BYTES in all or as much as there is.

    sizes: bytes of every source. shares: their sum is 1. Which documents these are follows from their ids. Workers draw
    them, and leave those of each shard in `folder`.
    """
    parts = {name: min(1.0, shares[name] * SAMPLE_BYTES / size) for name, size in sizes.items() if size}
    for _ in engine.map(partial(_sample_shard, view, parts, folder), view.shards):
        pass
    for shard in view.shards:
        yield from tables.read(folder / f"{shard}.parquet")["text"].to_pylist()


def _sample_shard(view: View, parts: dict[str, float], folder: Path, shard: str) -> None:
    """Writes the texts that are drawn; a shard of which none is needs no text to be read."""
    path = folder / f"{shard}.parquet"
    if path.exists():
        return
    documents = view.read(shard, ["id", "source"])
    drawn = [draw(row["id"], "vocabulary") < parts[row["source"]] for row in documents.to_pylist()]
    texts = view.read(shard, ["text"]).select(["text"]).filter(pa.array(drawn, pa.bool_())) if any(drawn) else _NO_TEXT
    with room(folder):
        tables.write(path, texts)


def draw(document_id: str, purpose: str) -> float:
    """A number in [0, 1), uniform over documents, that follows from a document's id and what it is for."""
    digest = hashlib.blake2b(f"{purpose}\0{document_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
