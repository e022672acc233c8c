"""Writes the documents that remain at the end of a build, with the stages' columns, and surveys them."""

import functools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus import tables
from palmetto.corpus.engine import Engine
from palmetto.corpus.measuring import draw
from palmetto.corpus.stage import View
from palmetto.files import room, sha256

SAMPLES = 3
"""The number of documents per source that the datasheet shows."""
_SHOWN_CHARACTERS = 600
_COLUMNS = ("id", "source", "name", "text", "url", "licence", "language", "quality", "tokens")
_TYPES = {"quality": pa.float32(), "tokens": pa.int64()}


@dataclass
class Survey:
    """Statistics of written documents.

    languages and licences: documents, bytes and tokens, by (source, language or licence, quantity). samples: by source,
    the documents to show. files: each file's name, digest and sizes.
    """

    languages: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    licences: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: "Survey") -> None:
        """Adds the survey of another shard."""
        self.languages.update(other.languages)
        self.licences.update(other.licences)
        self.files += other.files
        for source, rows in other.samples.items():
            ours = [*self.samples.get(source, []), *rows]
            self.samples[source] = sorted(ours, key=lambda row: row["draw"])[:SAMPLES]


def write(view: View, folder: Path, digest: str, engine: Engine) -> Survey:
    """Writes every shard that has documents to `folder`, unless this build (`digest`) has written it already.

    A shard that has become empty is not deleted here, but the survey leaves it out.
    """
    survey = Survey()
    for of_shard in engine.map(functools.partial(_write_shard, view, folder, digest), view.shards):
        survey.add(of_shard)
    return survey


def _write_shard(view: View, folder: Path, digest: str, shard: str) -> Survey:
    path = folder / f"{shard}.parquet"
    if path.exists() and tables.metadata(path) == {"digest": digest}:
        return _survey(tables.read(path), path, folder)
    documents = view.read(shard)
    if not len(documents):
        return Survey()
    columns = {
        name: documents[name] if name in documents.column_names else pa.nulls(len(documents), _TYPES[name])
        for name in _COLUMNS
    }
    table = pa.table(columns)
    with room(folder):
        tables.write(path, table, digest=digest)
    return _survey(table, path, folder)


def _survey(documents: pa.Table, path: Path, folder: Path) -> Survey:
    sizes = tables.sizes(documents["text"])
    survey = Survey()
    whole = documents.append_column("bytes", sizes)
    for column, counter in (("language", survey.languages), ("licence", survey.licences)):
        named = whole.set_column(0, "key", pc.fill_null(whole[column], ""))
        grouped = named.group_by(["source", "key"], use_threads=False).aggregate(
            [("text", "count"), ("bytes", "sum"), ("tokens", "sum")]
        )
        for row in grouped.to_pylist():
            counter[row["source"], row["key"], "documents"] = row["text_count"]
            counter[row["source"], row["key"], "bytes"] = row["bytes_sum"]
            counter[row["source"], row["key"], "tokens"] = row["tokens_sum"]
    for row in documents.select(["id", "source", "name"]).to_pylist():
        survey.samples.setdefault(row["source"], []).append(row | {"draw": draw(row["id"], "sample")})
    for source, rows in survey.samples.items():
        survey.samples[source] = sorted(rows, key=lambda row: row["draw"])[:SAMPLES]
    chosen = {row["id"]: row for rows in survey.samples.values() for row in rows}
    texts = documents.filter(pc.is_in(documents["id"], pa.array(list(chosen), pa.string()))).select(["id", "text"])
    for row in texts.to_pylist():
        chosen[row["id"]]["text"] = row["text"][:_SHOWN_CHARACTERS]
    survey.files = [
        {
            "file": path.relative_to(folder.parent).as_posix(),
            "sha256": sha256(path),
            "documents": len(documents),
            "bytes": pc.sum(sizes).as_py(),
            "tokens": pc.sum(documents["tokens"]).as_py(),
        }
    ]
    return survey
