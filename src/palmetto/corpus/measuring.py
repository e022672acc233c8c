"""How many tokens a document makes, by the vocabulary that is trained on it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View
from palmetto.files import sha256

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


def sample(view: View, sizes: dict[str, int], shares: dict[str, float]) -> Iterator[str]:
    """Texts of every source in its share, about SAMPLE_BYTES in all or as much as there is.

    sizes: bytes of every source. shares: their sum is 1. Which documents these are follows from their ids.
    """
    parts = {name: min(1.0, shares[name] * SAMPLE_BYTES / size) for name, size in sizes.items() if size}
    for shard in view.shards:
        documents = view.read(shard, ["id", "source", "text"])
        for row in documents.to_pylist():
            if draw(row["id"], "vocabulary") < parts[row["source"]]:
                yield row["text"]


def draw(document_id: str, purpose: str) -> float:
    """A number in [0, 1), uniform over documents, that follows from a document's id and what it is for."""
    digest = hashlib.blake2b(f"{purpose}\0{document_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
