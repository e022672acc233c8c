"""From sources to documents: files are found, read, and their texts written in shards of about the same size."""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from palmetto.corpus import tables
from palmetto.corpus.counts import Counts
from palmetto.corpus.engine import Engine
from palmetto.corpus.finding import File, find
from palmetto.corpus.reading import Problem, Record, read
from palmetto.corpus.stage import Done, Say, View, digest_of
from palmetto.errors import RunStopped
from palmetto.files import read_json, write_json
from palmetto.recipe.corpus import Build, Source

SHARD_BYTES = 32 << 20
"""Of text; a shard is what a worker holds at a time."""
_VERSION = 1
_SHOWN = 5


@dataclass(frozen=True)
class Extracted:
    """The documents of all sources, and what could not be read."""

    view: View
    done: Done
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Task:
    """Files that one worker reads."""

    source_name: str
    source: Source
    number: int
    files: tuple[File, ...]


def extract(build: Build, workplace: Path, engine: Engine, say: Say) -> Extracted:
    """Finds, reads and writes; skipped, file by file, where it is done already.

    UserError where a path is missing; RunStopped where more of a source than `failures` cannot be read.
    """
    found = {name: find(source, build.root, name) for name, source in build.sources.items()}
    digest = digest_of(
        {
            "stage": "extraction",
            "version": _VERSION,
            "sources": {
                name: [source.model_dump(exclude={"paths", "weight", "quality"}), *(asdict(file) for file in found[name])]
                for name, source in build.sources.items()
            },
        }
    )  # fmt: skip
    folder = workplace / f"extraction-{digest[:16]}"
    tasks = [
        _Task(name, source, number, files)
        for name, source in build.sources.items()
        for number, files in enumerate(_groups(found[name]))
    ]
    reports = list(engine.map(functools.partial(_extract, folder), tasks))
    counts = Counts.sum(Counts.of(report["counts"]) for report in reports)
    problems = tuple(Problem(**problem) for report in reports for problem in report["problems"])
    shards = tuple(shard for report in reports for shard in report["shards"])
    say(f"extraction: {sum(map(len, found.values())):,} files; {counts.line()}")
    _check(build, counts, problems, say)
    return Extracted(View(folder / "texts", shards), Done(folder, counts, digest), problems)


def _groups(files: Iterable[File]) -> Iterator[tuple[File, ...]]:
    """Small files together, a large one alone: as many as make a shard."""
    group: list[File] = []
    size = 0
    for file in files:
        if group and size + file.size > SHARD_BYTES:
            yield tuple(group)
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield tuple(group)


def _extract(folder: Path, task: _Task) -> dict[str, Any]:
    """Reads the files of a task; its report says what it wrote, and being there, that it is done."""
    report = folder / "tasks" / task.source_name / f"{task.number:06}.json"
    if report.exists():
        values: dict[str, Any] = read_json(report)
        return values
    shards, problems, counts = [], list[Problem](), Counts()
    rows: list[Record] = []
    size = 0

    def write() -> None:
        nonlocal rows, size
        shard = f"{task.source_name}/{task.number:06}-{len(shards):04}"
        tables.write(folder / "texts" / f"{shard}.parquet", _table(task.source_name, rows))
        shards.append(shard)
        rows, size = [], 0

    for file in task.files:
        for found in read(file, task.source):
            if isinstance(found, Problem):
                problems.append(found)
                continue
            length = len(found.text.encode())
            pair = {task.source_name: (1, length)}
            if not found.text.strip():
                counts += Counts(pair, {}, {task.source_name: {"empty": (1, length)}})
                continue
            counts += Counts(pair, pair)
            if rows and size + length > SHARD_BYTES:
                write()
            rows.append(found)
            size += length
    if rows:
        write()
    values = {"shards": shards, "counts": counts.values(), "problems": [asdict(problem) for problem in problems]}
    write_json(report, values)
    return values


def _table(source: str, rows: list[Record]) -> pa.Table:
    columns = {
        "id": [document_id(source, row.name) for row in rows],
        "source": [source] * len(rows),
        "name": [row.name for row in rows],
        "text": [row.text for row in rows],
        "url": [row.url for row in rows],
        "licence": [row.licence for row in rows],
        "language": [row.language for row in rows],
    }
    return pa.table(columns, schema=tables.DOCUMENTS)


def document_id(source: str, name: str) -> str:
    """32 hex digits: the same document has the same, however a corpus is divided."""
    return hashlib.sha256(f"{source}\0{name}".encode(errors="surrogateescape")).hexdigest()[:32]


def _check(build: Build, counts: Counts, problems: tuple[Problem, ...], say: Say) -> None:
    for problem in problems[:_SHOWN]:
        say(f"not read: {problem.name} ({problem.reason})")
    if len(problems) > _SHOWN:
        say(f"not read: {len(problems) - _SHOWN} more, all in the manifest")
    for name in build.sources:
        failed = [problem for problem in problems if problem.source == name]
        read_well = counts.before.get(name, (0, 0))[0]
        share = len(failed) / max(1, len(failed) + read_well)
        if share > build.failures:
            raise RunStopped(f"{name}: {len(failed)} of {len(failed) + read_well} could not be read, {share:.1%}, more than "
                             f"corpus.build.failures={build.failures}; the first: {failed[0].name} ({failed[0].reason})")  # fmt: skip
        if not read_well:
            raise RunStopped(f"{name}: no documents in {', '.join(build.sources[name].paths)}")
