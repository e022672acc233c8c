"""What readers hand on: records, those dropped at sight, and what cannot be read."""

from dataclasses import dataclass

from palmetto.corpus.reading.finding import Problem


@dataclass(frozen=True)
class Record:
    """A text as its source has it."""

    name: str
    text: str
    url: str | None = None
    licence: str | None = None
    language: str | None = None
    boilerplate: int = 0
    """Bytes around the text that belong to its edition, and are left out."""


@dataclass(frozen=True)
class Dropped:
    """A record that is none of what its source is read for: why, and its bytes."""

    name: str
    reason: str
    size: int


Item = Record | Dropped | Problem
