"""Makes small corpora on disk for tests of stages."""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from palmetto.corpus import tables
from palmetto.corpus.engine import Engine, LocalEngine, Result, Task
from palmetto.corpus.stage import Stage, View, run

Document = tuple[str, str]
"""(source, text)."""


class Backwards:
    """Runs tasks in reverse order, and pickles function and tasks as engines with processes do."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        done = [pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(task))) for task in reversed(tasks)]
        return reversed(done)


def make_view(folder: Path, shards: Sequence[Mapping[str, Document]]) -> View:
    """Writes shards of documents given by id."""
    names = []
    for number, documents in enumerate(shards):
        names.append(f"part/{number:04}")
        columns = {
            "id": list(documents),
            "source": [source for source, _ in documents.values()],
            "name": list(documents),
            "text": [text for _, text in documents.values()],
        }
        empty = {name: [None] * len(documents) for name in ("url", "licence", "language")}
        tables.write(folder / f"{names[-1]}.parquet", pa.table({**columns, **empty}, schema=tables.DOCUMENTS))
    return View(folder, tuple(names))


def notes_of(stage: Stage, view: View, workplace: Path, engine: Engine | None = None) -> dict[str, dict[str, Any]]:
    """Returns the notes of each document by id, after running a stage."""
    done = run(stage, view, "", workplace, engine or LocalEngine(1), lambda line: None)
    notes: dict[str, dict[str, Any]] = {}
    for shard in view.shards:
        ids = view.read(shard, ["id"])["id"].to_pylist()
        noted = tables.read(done.folder / "notes" / f"{shard}.parquet").to_pylist()
        notes.update(zip(ids, noted, strict=True))
    return notes
