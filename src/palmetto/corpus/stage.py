"""A stage: it looks at documents as the stages before have left them, and notes what becomes of each.

Texts are written twice, after extraction and at the end. Between, a stage writes notes alone, a row a document: why it
is dropped, what in its text is replaced, a language, a score. So stages cost what they read; what was dropped and why
can be looked up; and a stage is done again without those before it.
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

from palmetto.corpus import made, tables
from palmetto.corpus.counts import Counts
from palmetto.corpus.engine import Engine
from palmetto.files import read_json, room, write_json

NOTES = "notes"
Say = Callable[[str], None]


class Stage(Protocol):
    """What a stage is to the runner. A value that can be pickled; all it does follows from `identity` and documents."""

    @property
    def name(self) -> str:
        """What it is called, once in a build."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """All that its notes depend on besides the documents, as JSON values, a version of its code among them."""
        ...

    def prepare(self, view: "View", engine: Engine, folder: Path) -> None:
        """What must be known of all documents before any can be judged; leaves it in `folder`, file by file, so that
        what is there already is not made again. Most stages have nothing to do here."""
        ...

    def note(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """A row a document of one shard: `dropped` (string, null: stays), perhaps `edits` (tables.EDITS), and columns
        of the stage's own. `documents`: tables.DOCUMENTS and the columns that earlier stages have noted."""
        ...


@dataclass(frozen=True)
class View:
    """The documents as they are before a stage: shards with texts, and the notes of the stages before, in order."""

    texts: Path
    shards: tuple[str, ...]
    notes: tuple[Path, ...] = ()

    def read(self, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The documents of a shard that no stage has dropped, their texts edited; noted columns replace equal ones.

        columns: only these, where not all are needed.
        """
        wanted = None if columns is None else [name for name in tables.DOCUMENTS.names if name in columns]
        table = tables.read(self.texts / f"{shard}.parquet", wanted)
        for folder in self.notes:
            noted = tables.read(folder / NOTES / f"{shard}.parquet")
            if "edits" in noted.column_names and "text" in table.column_names:
                table = _edit(table, noted["edits"])
            for name in noted.column_names:
                if name not in ("dropped", "edits") and (columns is None or name in columns):
                    index = table.schema.get_field_index(name)
                    table = table.append_column(name, noted[name]) if index < 0 else table.set_column(
                        index, name, noted[name])  # fmt: skip
            table = table.filter(pc.is_null(noted["dropped"]))
        return table

    def after(self, folder: Path) -> "View":
        """With one stage's notes more."""
        return View(self.texts, self.shards, (*self.notes, folder))


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
    """A stage that is done: its folder, its counts, and a digest of all that it depends on."""

    folder: Path
    counts: Counts
    digest: str


def run(stage: Stage, view: View, before: str, workplace: Path, engine: Engine, say: Say) -> Done:
    """Does a stage, shard by shard, unless it is done already; what a killed process has finished is kept.

    before: the digest of the stage before. Raises what the stage raises.
    """
    digest = digest_of({"before": before, "stage": stage.name, **stage.identity})
    folder = workplace / f"{stage.name}-{digest[:16]}"
    done = folder / "done.json"
    if done.exists():
        counts = Counts.of(read_json(done))
        say(f"{stage.name}: done already; {counts.line()}")
        return Done(folder, counts, digest)
    made.make_way(workplace, stage.name, folder)
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
    notes = stage.note(documents, shard, folder)
    assert len(notes) == len(documents), f"{stage.name}: a note a document"
    counts = count(documents, notes)
    with room(folder):
        tables.write(path, notes, **counts.values())
    return counts.values()


def count(documents: pa.Table, notes: pa.Table) -> Counts:
    """Of one shard."""
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
    """Bytes cut out of each document that stays, and bytes put in their place."""
    cut, put = np.zeros((2, len(documents)), np.int64)
    edits = notes["edits"].to_pylist() if "edits" in notes.column_names else ()
    for row, of_text in enumerate(edits):
        if of_text and not notes["dropped"][row].is_valid:
            text = documents["text"][row].as_py()
            cut[row] = sum(len(text[edit["start"] : edit["end"]].encode()) for edit in of_text)
            put[row] = sum(len(edit["text"].encode()) for edit in of_text)
    return pa.array(cut), pa.array(put)


def digest_of(values: dict[str, Any]) -> str:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
