"""What is in a file: records, and what of it cannot be read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from palmetto.corpus.finding import File
from palmetto.recipe.corpus import Source


@dataclass(frozen=True)
class Record:
    """A text as its source has it."""

    name: str
    text: str
    url: str | None = None
    licence: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Problem:
    """A file, or a record of one, that cannot be read, and why."""

    source: str
    name: str
    reason: str


def read(file: File, source: Source) -> Iterator[Record | Problem]:
    """Yields what is in a file; after damage, what comes before it and a problem."""
    data = Path(file.path).read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield Problem(file.source, file.name, "not UTF-8")
        return
    if file.name.endswith(".jsonl"):
        for number, line in enumerate(text.split("\n"), 1):
            if line:
                values = json.loads(line)
                parts = [str(values[field]) for field in source.text if field in values]
                yield Record(f"{file.name}:{number}", "\n".join(parts), values.get(source.url or ""),
                             values.get("license") or source.licence, source.language)  # fmt: skip
    else:
        yield Record(file.name, text, None, source.licence, source.language)
