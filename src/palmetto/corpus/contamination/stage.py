"""Defines the stage that finds contaminated evaluation examples and the documents that contain them.

PaLM (arXiv 2204.02311, section 8) calls an example contaminated if at least 70 % of the 8-grams of its question, prompt
or target occur anywhere in the training data. A document holds an example if it alone contains that share of one part,
which points to the document rather than to common phrases.

FOLDER/verdicts/SET.jsonl    one line per example, in the set's order
FOLDER/contamination.json    the number of examples of each set, and of contaminated ones
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus import tables
from palmetto.corpus.contamination import index
from palmetto.corpus.contamination.examples import PARTS, Example, find_sets, read_examples
from palmetto.corpus.contamination.grams import LENGTH
from palmetto.corpus.contamination.index import Index
from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View
from palmetto.errors import UserError
from palmetto.files import sha256, write_json, write_text

VERDICTS = "verdicts"
SUMMARY = "contamination.json"
DROPPED = "contamination"
_VERSION = 1


@dataclass(frozen=True)
class Contamination:
    """The stage whose column `contaminates` lists the examples that a document holds, as ``SET:ID``, in the sets'
    order.

    With "drop", such documents are dropped, and examples are marked by the remaining documents; marks by all documents
    are recorded under other names. Later stages only remove text, so an example marked clean stays clean. Each worker
    uses about 40 bytes per word of the evaluation sets, however large the corpus.
    """

    evaluation: tuple[str, ...]
    action: Literal["flag", "drop"] = "drop"
    name: str = "contamination"

    @property
    def identity(self) -> dict[str, Any]:
        """The contents of the sets, wherever they lie, and the parameters."""
        digests = {name: sha256(file) for name, file in self._sets().items()}
        return {"version": _VERSION, "units": LENGTH, "tenths": index.TENTHS, "action": self.action, "sets": digests}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Searches all documents for the examples' grams and marks the examples; raises UserError as
        `read_examples` does.
        """
        if (folder / SUMMARY).exists():
            return
        examples = [example for path in self.evaluation for example in read_examples(path)]
        built = index.build(examples)
        built.write(folder / "index")
        tables.write(folder / "examples.parquet", pa.table({"name": [f"{e.set}:{e.id}" for e in examples]}))
        for _ in engine.map(functools.partial(_search, view, folder), view.shards):
            pass
        all_seen, still_seen = (np.zeros(len(built.hashes), np.bool_) for _ in range(2))
        for shard in view.shards:
            seen = tables.read(folder / "seen" / f"{shard}.parquet")
            all_seen[seen["gram"].to_numpy()] = True
            still_seen[seen.filter(seen["beside"])["gram"].to_numpy()] = True
        before = _marks(built, all_seen)
        self._write(examples, before if self.action == "flag" else _marks(built, still_seen), before, folder)

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Returns what `prepare` found in the shard."""
        held = tables.read(folder / "held" / f"{shard}.parquet")["examples"].combine_chunks()
        names = tables.read(folder / "examples.parquet")["name"].combine_chunks()
        contaminates = pa.ListArray.from_arrays(held.offsets, names.take(held.values))
        guilty = pc.greater(pc.list_value_length(held), 0)
        reason = pa.scalar(DROPPED if self.action == "drop" else None, pa.string())
        dropped = pc.if_else(guilty, reason, pa.scalar(None, pa.string()))
        return pa.table({"dropped": dropped, "contaminates": contaminates})

    def _sets(self) -> dict[str, Path]:
        sets: dict[str, Path] = {}
        for path in self.evaluation:
            for name, file in find_sets(path).items():
                if name in sets:
                    raise UserError(
                        f"corpus.build.contamination.evaluation: {sets[name]} and {file} are both named "
                        f"{name}; give the folder above them"
                    )
                sets[name] = file
        return sets

    def _write(self, examples: list[Example], marks: "_Marks", before: "_Marks", folder: Path) -> None:
        lines: dict[str, list[str]] = {}
        summary: dict[str, dict[str, int]] = {}
        for number, example in enumerate(examples):
            verdict = {
                "id": example.id,
                "contaminated": marks.contaminated(number),
                "shares": marks.shares(number),
                "contaminated_before": before.contaminated(number),
                "shares_before": before.shares(number),
            }
            lines.setdefault(example.set, []).append(json.dumps(verdict) + "\n")
            counts = summary.setdefault(example.set, {"examples": 0, "contaminated": 0, "contaminated_before": 0})
            counts["examples"] += 1
            counts["contaminated"] += marks.contaminated(number)
            counts["contaminated_before"] += before.contaminated(number)
        for name, texts in lines.items():
            write_text(folder / VERDICTS / f"{name}.jsonl", "".join(texts))
        write_json(folder / SUMMARY, summary)


@dataclass(frozen=True, eq=False)
class _Marks:
    """The grams of every part, how many of them occur, and whether these are enough."""

    sizes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    enough: npt.NDArray[np.bool_]

    def contaminated(self, example: int) -> bool:
        first = example * len(PARTS)
        return bool(self.enough[first : first + len(PARTS)].any())

    def shares(self, example: int) -> dict[str, float | None]:
        """Returns the share of seen grams by part; None if the part is not judged."""
        first = example * len(PARTS)
        return {
            name: round(int(self.counts[part]) / int(self.sizes[part]), 4) if self.sizes[part] else None
            for part, name in enumerate(PARTS, first)
        }


def _marks(built: Index, seen: npt.NDArray[np.bool_]) -> _Marks:
    counts = built.counts(seen)
    return _Marks(built.sizes, counts, built.enough(counts))


def _search(view: View, folder: Path, shard: str) -> None:
    """Writes which examples each document holds and which grams occur; `beside` marks grams in documents that hold
    none.
    """
    held_file, seen_file = (folder / name / f"{shard}.parquet" for name in ("held", "seen"))
    if seen_file.exists():
        return
    built = index.load(folder / "index")
    texts = view.read(shard, ["text"])["text"].to_pylist()
    rows, which = built.find(texts)
    held = built.held(rows, which)
    examples = pa.array([held.get(row, []) for row in range(len(texts))], pa.list_(pa.int64()))
    tables.write(held_file, pa.table({"examples": examples}))
    seen = np.unique(which)
    beside = np.isin(seen, which[~np.isin(rows, list(held))])
    tables.write(seen_file, pa.table({"gram": seen, "beside": beside}))
