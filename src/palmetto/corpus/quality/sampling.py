"""Defines the stage that samples documents by the classifier's score."""

import functools
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from palmetto.corpus.engine import Engine
from palmetto.corpus.quality.classifier import Classifier
from palmetto.corpus.stage import View
from palmetto.files import sha256, write_bytes
from palmetto.recipe.corpus import Build

_VERSION = 1
_FILE = "classifier.npz"


@dataclass(frozen=True)
class Quality:
    """The stage that keeps a document if a draw from the Pareto distribution exceeds 1 - score.

    So some low-scoring documents stay, and the classifier's bias does not become the corpus's (GLaM, arXiv 2112.06905,
    section 3, after GPT-3). sources: those that are scored; the others stay whole. digest: the SHA-256 of the
    classifier's file.
    """

    sources: tuple[str, ...]
    classifier: str
    digest: str
    alpha: float
    name: str = field(default="quality", init=False)

    @classmethod
    def of(cls, build: Build) -> "Quality | None":
        """Returns the recipe's stage, or None if no source is scored; raises UserError if the file is no classifier."""
        sources = tuple(name for name, source in build.sources.items() if source.quality)
        if build.quality is None or not sources:
            return None
        file = Path(os.path.expanduser(build.quality.classifier))
        Classifier.load(file)
        return cls(sources, str(file.absolute()), sha256(file), build.quality.alpha)

    @property
    def identity(self) -> dict[str, Any]:
        """The scored sources, the classifier's digest and alpha."""
        return {"version": _VERSION, "sources": self.sources, "classifier": self.digest, "alpha": self.alpha}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Copies the classifier to a place that all workers see and that does not change."""
        if not (folder / _FILE).exists():
            write_bytes(folder / _FILE, Path(self.classifier).read_bytes())

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Adds the column `quality`, the score in float32; it is null for sources that are not scored."""
        rows = np.flatnonzero([source in self.sources for source in documents["source"].to_pylist()])
        scores = np.zeros(len(documents), np.float32)
        scored = np.zeros(len(documents), bool)
        dropped: list[str | None] = [None] * len(documents)
        if len(rows):
            chosen = documents.select(["id", "text"]).take(rows)
            scores[rows] = _load(folder / _FILE, self.digest).score(chosen["text"])
            scored[rows] = True
            for row, id in zip(rows, chosen["id"].to_pylist(), strict=True):
                if draw(id, self.alpha) <= 1 - float(scores[row]):
                    dropped[row] = "quality"
        return pa.table({"dropped": pa.array(dropped, pa.string()), "quality": pa.array(scores, mask=~scored)})


@functools.lru_cache(1)
def _load(file: Path, digest: str) -> Classifier:
    return Classifier.load(file)


def draw(id: str, alpha: float) -> float:
    """Returns a document's own draw from the Pareto (Lomax) distribution of shape `alpha`, as in
    numpy.random.pareto.
    """
    number = int.from_bytes(hashlib.sha256(f"quality\0{id}".encode()).digest()[:8])
    return float(((number + 0.5) / 2**64) ** (-1 / alpha) - 1)
