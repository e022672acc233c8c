"""Defines what readers yield: records, records dropped at once, and problems."""

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
    """The bytes around the text that belong to its edition and are left out."""


@dataclass(frozen=True)
class Dropped:
    """A record that the source is not read for: the reason and its bytes."""

    name: str
    reason: str
    size: int


Item = Record | Dropped | Problem
