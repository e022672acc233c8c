"""Runs extractions of small sources and returns what they wrote."""

from pathlib import Path
from typing import Any

from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.reading.extraction import Extracted, extract
from palmetto.recipe.corpus import Build


def recipe(root: Path, sources: dict[str, Any], **others: Any) -> Build:
    return Build.model_validate({"root": str(root), "sources": sources, **others})


def done(
    root: Path, out: Path, sources: dict[str, Any], workers: int = 1, section_bytes: int = 1 << 20, **others: Any
) -> tuple[Extracted, list[str]]:
    said: list[str] = []
    return extract(recipe(root, sources, **others), section_bytes, out, LocalEngine(workers), said.append), said


def files(extracted: Extracted) -> dict[str, bytes]:
    return {shard: (extracted.view.texts / f"{shard}.parquet").read_bytes() for shard in extracted.view.shards}


SOURCES: dict[str, Any] = {
    "books": {"paths": ["books"], "language": "en"},
    "web": {"paths": ["web"]},
    "code": {"paths": ["code"], "kind": "code"},
}
