"""Makes a corpus with planted duplicates whose pairs are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from palmetto.corpus import tables
from palmetto.corpus.reading.extraction import document_id

WORDS = 5
_VOCABULARY = 30_000
_SYLLABLES = [f"{a}{b}" for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er")]


class Pair(NamedTuple):
    """A document, a copy of it, and the Jaccard similarity of their sets of 5-grams of words."""

    original: str
    copy: str
    similarity: float


def texts(documents: int, seed: int = 0) -> tuple[list[tuple[str, str]], list[Pair]]:
    """Returns texts of about 100 to 1000 words by id, and the pairs among them.

    10 % of the texts are exact copies, and 30 % edited copies with similarities from 0.5 to 1. The same seed gives the
    same texts.
    """
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 4, _VOCABULARY)
    vocabulary = np.array(["".join(random.choice(_SYLLABLES, length)) for length in lengths])
    ranks = 1 / np.arange(10, _VOCABULARY + 10)
    bounds = np.cumsum(ranks / ranks.sum())

    def draw(number: int) -> list[str]:
        return vocabulary[np.minimum(np.searchsorted(bounds, random.random(number)), _VOCABULARY - 1)].tolist()

    alone = int(0.6 * documents)
    drawn = [draw(int(length)) for length in np.exp(random.uniform(np.log(100), np.log(1000), alone))]
    pairs = []
    for original, place in enumerate(random.permutation(alone)[: documents - alone]):
        words = list(drawn[place])
        if original >= 0.1 * documents:
            target = random.uniform(0.5, 1)
            edits = len(words) * (1 - target) / (1 + target) / WORDS
            for spot in random.choice(len(words), max(1, round(edits)), replace=False):
                words[spot] = draw(1)[0]
        pairs.append(Pair(_id(int(place)), _id(len(drawn)), _jaccard(drawn[place], words)))
        drawn.append(words)
    order = random.permutation(len(drawn)).tolist()
    return [(_id(place), _sentences(drawn[place])) for place in order], pairs


def write_shards(folder: Path, texts: Sequence[tuple[str, str]], shards: int, language: str | None = None) -> int:
    """Writes texts by id as Palmetto's extraction does; returns their bytes."""
    for number in range(shards):
        names, part = zip(*texts[number::shards], strict=True)
        columns = {"id": names, "source": ["benchmark"] * len(names), "name": names, "text": part}
        rest = {"url": [None] * len(names), "licence": [None] * len(names), "language": [language] * len(names)}
        tables.write(folder / f"{number:05}.parquet", pa.table({**columns, **rest}, schema=tables.DOCUMENTS))
    return sum(len(text.encode()) for _, text in texts)


def _id(place: int) -> str:
    return document_id("benchmark", str(place))


def _sentences(words: list[str]) -> str:
    sentences = [" ".join(words[start : start + 12]).capitalize() for start in range(0, len(words), 12)]
    lines = [". ".join(sentences[start : start + 5]) + "." for start in range(0, len(sentences), 5)]
    return "\n".join(lines)


def _jaccard(a: list[str], b: list[str]) -> float:
    one, two = ({tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)} for words in (a, b))
    return len(one & two) / len(one | two)
