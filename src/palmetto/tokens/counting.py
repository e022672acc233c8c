"""Implements the corpus's tokenizer interface: trains a vocabulary on a sample and counts tokens with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from palmetto.corpus.documents import cut
from palmetto.tokens import vocabularies
from palmetto.tokens.vocabulary import Kind, Vocabulary, least_size


@dataclass(frozen=True)
class Counter:
    """Implements `palmetto.corpus.measuring.Tokenizer`."""

    kind: Kind
    size: int
    section_bytes: int

    @property
    def identity(self) -> dict[str, Any]:
        """The kind and the size."""
        return {"kind": self.kind, "size": self.size}

    def least(self, texts: Iterable[str]) -> int:
        """Returns the smallest size that these texts allow."""
        return least_size(texts)

    def train(self, texts: Iterable[str], path: Path) -> None:
        """Trains on sections, as a run does; raises SizeError if there is too little text for the size."""
        Vocabulary.train(
            (section for text in texts for section in cut(text, self.section_bytes)), self.size, self.kind
        ).save(path)

    def count(self, path: Path, texts: list[str]) -> list[int]:
        """Returns the tokens of each text's sections, with an [eod] for each section."""
        sections = [cut(text, self.section_bytes) for text in texts]
        lengths = iter([len(ids) + 1 for ids in _load(path).encode_all([one for each in sections for one in each])])
        return [sum(next(lengths) for _ in each) for each in sections]


@lru_cache(1)
def _load(path: Path) -> Vocabulary:
    return vocabularies.load(path)
