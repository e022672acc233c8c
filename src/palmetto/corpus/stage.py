"""Defines a stage: it reads the documents as earlier stages left them and writes notes on what becomes of each.

Texts are written only twice, after extraction and at the end. In between, a stage writes notes, one row per document:
why it is dropped, which parts of its text are replaced, its language or its score. So a stage costs only what it reads,
dropped documents can be looked up with the reason, and a stage can be repeated without the stages before it.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus import inventory, tables
from palmetto.corpus.counts import Counts
from palmetto.corpus.engine import Engine
from palmetto.files import read_json, room, write_json

NOTES = "notes"
Say = Callable[[str], None]
"""Prints one line to the user."""


class Stage(Protocol):
    """The interface of a stage, a picklable value; its results depend on `identity` and the documents alone."""

    @property
    def name(self) -> str:
        """The stage's name, unique in a build."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the notes depend on besides the documents, as JSON values; includes a version of the code."""
        ...

    def prepare(self, view: "View", engine: Engine, folder: Path) -> None:
        """Computes what must be known of all documents before any can be judged, and writes it into `folder`.

        Files that exist already are not written again. Most stages do nothing here.
        """
        ...

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Returns one row per document of a shard.

        The columns are `dropped` (string; null if the document stays), optionally `edits` (tables.EDITS), and the
        stage's own. `documents` has the columns of tables.DOCUMENTS and those that earlier stages added.
        """
        ...


@dataclass(frozen=True)
class View:
    """The documents as a stage finds them: shards of texts, and the notes of the earlier stages in order."""

    texts: Path
    shards: tuple[str, ...]
    notes: tuple[Path, ...] = ()

    def read(self, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns the documents of a shard that no stage has dropped, with edited texts and the stages' columns.

        A stage's column replaces one of the same name. columns: the columns to return; all by default.
        """
        wanted = None if columns is None else [name for name in tables.DOCUMENTS.names if name in columns]
        table = tables.read(self.texts / f"{shard}.parquet", wanted)
        for folder in self.notes:
            noted = tables.read(folder / NOTES / f"{shard}.parquet")
            if "edits" in noted.column_names and "text" in table.column_names:
                table = _edit(table, noted["edits"])
            for name in noted.column_names:
                if name not in ("dropped", "edits") and (columns is None or name in columns):
                    table = _with_column(table, name, noted[name])
            table = table.filter(pc.is_null(noted["dropped"]))
        return table

    def after(self, folder: Path) -> "View":
        """Returns the view of the next stage, with this stage's notes added."""
        return View(self.texts, self.shards, (*self.notes, folder))


def _with_column(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.append_column(name, values) if index < 0 else table.set_column(index, name, values)


def _edit(table: pa.Table, edits: pa.ChunkedArray) -> pa.Table:
    if edits.null_count == len(edits):
        return table
    texts = table["text"].to_pylist()
    for row, of_text in enumerate(edits.to_pylist()):
        if of_text:
            texts[row] = tables.edited(texts[row], of_text)
    return table.set_column(table.schema.get_field_index("text"), "text", pa.array(texts, pa.large_string()))


@dataclass(frozen=True)
class Done:
    """A finished stage: its folder, its counts, and a digest of everything it depends on."""

    folder: Path
    counts: Counts
    digest: str


def run(stage: Stage, view: View, before: str, workplace: Path, engine: Engine, say: Say) -> Done:
    """Runs a stage shard by shard unless it is already done; shards that a killed process finished are kept.

    before: the digest of the previous stage. Raises what the stage raises.
    """
    digest = digest_of({"before": before, "stage": stage.name, **stage.identity})
    folder = workplace / f"{stage.name}-{digest[:16]}"
    done = folder / "done.json"
    if done.exists():
        counts = Counts.of(read_json(done))
        say(f"{stage.name}: done already; {counts.line()}")
        return Done(folder, counts, digest)
    inventory.make_way(workplace, stage.name, folder)
    with room(folder):
        stage.prepare(view, engine, folder)
    task = functools.partial(_note_shard, stage, view, folder)
    counts = Counts.sum(Counts.of(values) for values in engine.map(task, view.shards))
    write_json(done, counts.values())
    say(f"{stage.name}: {counts.line()}")
    return Done(folder, counts, digest)


def _note_shard(stage: Stage, view: View, folder: Path, shard: str) -> dict[str, Any]:
    path = folder / NOTES / f"{shard}.parquet"
    if path.exists():
        values: dict[str, Any] = tables.metadata(path)
        return values
    documents = view.read(shard)
    notes = stage.annotate(documents, shard, folder)
    assert len(notes) == len(documents), f"{stage.name}: a note a document"
    counts = count(documents, notes)
    with room(folder):
        tables.write(path, notes, **counts.values())
    return counts.values()


def count(documents: pa.Table, notes: pa.Table) -> Counts:
    """Returns the counts of one shard."""
    counts = Counts()
    if not len(documents):
        return counts
    cut, put = _edited_bytes(documents, notes)
    before = tables.sizes(documents["text"])
    rows = pa.table(
        {
            "source": documents["source"],
            "dropped": notes["dropped"],
            "before": before,
            "after": pc.add(pc.subtract(before, cut), put),
            "edited": pc.cast(pc.greater(pc.add(cut, put), 0), pa.int64()),
            "cut": cut,
            "put": put,
        }
    )
    sums = [(name, "sum") for name in ("before", "after", "edited", "cut", "put")]
    for key in (
        rows.group_by(["source", "dropped"], use_threads=False).aggregate([("before", "count"), *sums]).to_pylist()
    ):
        source, reason = key["source"], key["dropped"]
        came = key["before_count"], key["before_sum"]
        if reason is not None:
            counts += Counts({source: came}, {}, {source: {reason: came}})
            continue
        edited = {source: (key["edited_sum"], key["cut_sum"], key["put_sum"])} if key["edited_sum"] else {}
        counts += Counts({source: came}, {source: (came[0], key["after_sum"])}, {}, edited)
    return counts


def _edited_bytes(documents: pa.Table, notes: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Returns, for each document, the bytes cut out of it and the bytes put in; zero for dropped documents."""
    cut, put = np.zeros((2, len(documents)), np.int64)
    edits = notes["edits"].to_pylist() if "edits" in notes.column_names else ()
    for row, of_text in enumerate(edits):
        if of_text and not notes["dropped"][row].is_valid:
            text = documents["text"][row].as_py()
            cut[row] = sum(len(text[edit["start"] : edit["end"]].encode()) for edit in of_text)
            put[row] = sum(len(edit["text"].encode()) for edit in of_text)
    return pa.array(cut), pa.array(put)


def digest_of(values: dict[str, Any]) -> str:
    """Returns the SHA-256 (hex) of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
