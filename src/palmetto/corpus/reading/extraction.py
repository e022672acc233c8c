"""Extracts documents: finds the files of the sources, reads them and writes their texts in shards of similar size."""

import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from palmetto.corpus import inventory, separation, tables
from palmetto.corpus.counts import Counts, Pair
from palmetto.corpus.engine import Engine
from palmetto.corpus.reading import failures
from palmetto.corpus.reading.dispatch import read
from palmetto.corpus.reading.finding import File, PassedOver, Problem, find_all
from palmetto.corpus.reading.records import Dropped, Record
from palmetto.corpus.reading.sections import sections
from palmetto.corpus.stage import Done, Say, View, digest_of
from palmetto.files import read_json, room, sha256, write_json
from palmetto.recipe.corpus import Build, Source

SHARD_BYTES = 32 << 20
"""The size of a shard's text; a worker holds one shard at a time."""
_VERSION = 4
_LATER = {"paths", "weight", "quality", "filters"}
"""Keys of a source that do not affect its texts, or only through the files found."""
_Row = tuple[str, str | None, str | None, str | None]
"""The name, address, licence and language of a document."""


@dataclass(frozen=True)
class Extracted:
    """The documents of all sources, the problems, and the files and folders that were passed over."""

    view: View
    done: Done
    problems: tuple[Problem, ...]
    passed: tuple[PassedOver, ...]
    frames: dict[str, Pair]
    """The number of books whose Project Gutenberg header and footer were left out, and their bytes, by source."""


@dataclass(frozen=True)
class _Task:
    """Files that one worker reads."""

    source_name: str
    source: Source
    number: int
    files: tuple[File, ...]
    section_bytes: int


def extract(
    build: Build, section_bytes: int, workplace: Path, engine: Engine, say: Say, out: Path | None = None
) -> Extracted:
    """Finds and reads the files of all sources and writes their documents; finished tasks are not repeated.

    A document of more than `section_bytes` that is not code is cut into sections (sections.py) named ``#N``, each a
    document of its own, so that a book need not be taken or dropped as a whole. No file may lie in `out`.

    `done.digest` depends on the documents themselves, not on where and when their files were written. Raises UserError
    if a path is missing or holds nothing to read, and RunStopped if more of a source than `failures` cannot be read, if
    it has no documents, or if the disk is full.
    """
    found = find_all(build.sources, build.root)
    if out is not None:
        separation.check_files((file for of_source in found.values() for file in of_source.files), out)
    inputs = digest_of(
        {
            "version": _VERSION,
            "section_bytes": section_bytes,
            "sources": {
                name: [source.model_dump(exclude=_LATER), *map(_identity, found[name].files)]
                for name, source in build.sources.items()
            },
        }
    )
    folder = workplace / f"extraction-{inputs[:16]}"
    inventory.make_way(workplace, "extraction", folder)
    tasks = [
        _Task(name, source, number, files, sys.maxsize if source.kind == "code" else section_bytes)
        for name, source in build.sources.items()
        for number, files in enumerate(_groups(found[name].files))
    ]
    reports = list(engine.map(functools.partial(_extract, folder), tasks))
    counts = Counts.sum(Counts.of(report["counts"]) for report in reports)
    shards = {shard: digest for report in reports for shard, digest in report["shards"].items()}
    problems = [problem for of_source in found.values() for problem in of_source.problems]
    problems += [Problem(**problem) for report in reports for problem in report["problems"]]
    passed = tuple(each for of_source in found.values() for each in of_source.passed)
    frames = dict.fromkeys(build.sources, (0, 0))
    for report in reports:
        documents, size = frames[report["source"]]
        frames[report["source"]] = documents + report["frames"][0], size + report["frames"][1]
    say(f"extraction: {sum(len(of_source.files) for of_source in found.values()):,} files; {counts.line()}")
    failures.report(problems, passed, frames, say)
    failures.check(build, found, counts, problems)
    done = Done(folder, counts, digest_of({"stage": "extraction", "shards": shards}))
    return Extracted(View(folder / "texts", tuple(shards)), done, tuple(problems), passed, frames)


def _identity(file: File) -> dict[str, Any]:
    """Returns what identifies a file, wherever it lies."""
    return {"name": file.name, "kind": file.kind, "size": file.size, "changed": file.changed}


def _groups(files: Iterable[File]) -> Iterator[tuple[File, ...]]:
    """Yields groups of files that make about one shard each; a large file is alone."""
    group: list[File] = []
    size = 0
    for file in files:
        # A file of unknown size may be large.
        length = SHARD_BYTES if file.size is None else file.size
        if group and size + length > SHARD_BYTES:
            yield tuple(group)
            group, size = [], 0
        group.append(file)
        size += length
    if group:
        yield tuple(group)


@dataclass
class _Output:
    """Holds what a task has read: rows not yet written, finished shards, and the numbers for the report."""

    folder: Path
    task: _Task
    rows: list[_Row] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    size: int = 0
    shards: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    kept: Pair = (0, 0)
    dropped: dict[str, Pair] = field(default_factory=dict)
    frames: Pair = (0, 0)

    def add(self, record: Record) -> None:
        """Adds a record; writes a shard when it is full."""
        try:
            text = record.text.encode()
        except UnicodeEncodeError:
            size = len(record.text.encode(errors="surrogatepass"))
            self.problems.append(Problem(self.task.source_name, record.name, "half a surrogate pair in it", size))
            return
        if not text.strip():
            self.drop("empty", len(text) + record.boilerplate)
            return
        if record.boilerplate:
            self.frames = self.frames[0] + 1, self.frames[1] + record.boilerplate
        if len(text) <= self.task.section_bytes:
            self._add(record, record.name, text)
            return
        cut = list(sections(text, self.task.section_bytes))
        for number, section in enumerate(cut, 1):
            self._add(record, record.name if len(cut) == 1 else f"{record.name}#{number}", section)

    def _add(self, record: Record, name: str, text: bytes) -> None:
        if self.rows and self.size + len(text) > SHARD_BYTES:
            self.write()
        self.kept = self.kept[0] + 1, self.kept[1] + len(text)
        # UTF-8 is kept rather than a string, which may take four times the memory.
        self.rows.append((name, record.url, record.licence, record.language))
        self.texts.append(text)
        self.size += len(text)

    def drop(self, reason: str, size: int) -> None:
        """Counts a record that is dropped."""
        count, before = self.dropped.get(reason, (0, 0))
        self.dropped[reason] = count + 1, before + size

    @property
    def counts(self) -> Counts:
        """The counts of everything read; the frames of books are counted as cut."""
        source = self.task.source_name
        came = [self.kept, *self.dropped.values(), (0, self.frames[1])]
        before = sum(count for count, _ in came), sum(size for _, size in came)
        frames = {source: (*self.frames, 0)} if self.frames[0] else {}
        return Counts({source: before}, {source: self.kept}, {source: self.dropped} if self.dropped else {}, frames)

    def write(self) -> None:
        """Writes the rows as a shard."""
        shard = f"{self.task.source_name}/{self.task.number:06}-{len(self.shards):04}"
        path = self.folder / "texts" / f"{shard}.parquet"
        tables.write(path, _table(self.task.source_name, self.rows, self.texts))
        self.shards[shard] = sha256(path)
        self.rows, self.texts, self.size = [], [], 0


def _extract(folder: Path, task: _Task) -> dict[str, Any]:
    """Reads the files of a task and writes its report, whose presence says that the task is done.

    A task is repeated if one of its problems may be temporary.
    """
    report = folder / "tasks" / task.source_name / f"{task.number:06}.json"
    if report.exists():
        values: dict[str, Any] = read_json(report)
        if not any(problem["may_pass"] for problem in values["problems"]):
            return values
    output = _Output(folder, task)
    with room(folder):
        for file in task.files:
            for found in read(file, task.source):
                if isinstance(found, Problem):
                    output.problems.append(found)
                elif isinstance(found, Dropped):
                    output.drop(found.reason, found.size)
                else:
                    output.add(found)
                del found
        if output.rows:
            output.write()
        values = {
            "source": task.source_name,
            "shards": output.shards,
            "counts": output.counts.values(),
            "problems": [asdict(problem) for problem in output.problems],
            "frames": output.frames,
        }
        write_json(report, values)
    return values


def _table(source: str, rows: list[_Row], texts: list[bytes]) -> pa.Table:
    names, urls, licences, languages = zip(*rows, strict=True)
    columns = {
        "id": [document_id(source, name) for name in names],
        "source": [source] * len(rows),
        "name": names,
        "text": pa.array(texts, pa.large_string()),
        "url": [_writable(url) for url in urls],
        "licence": [_writable(licence) for licence in licences],
        "language": languages,
    }
    return pa.table(columns, schema=tables.DOCUMENTS)


def _writable(value: str | None) -> str | None:
    """Returns the value with surrogates replaced."""
    return value.encode(errors="replace").decode() if value else None


def document_id(source: str, name: str) -> str:
    """Returns 32 hex digits that identify a document, however the corpus is divided."""
    return hashlib.sha256(f"{source}\0{name}".encode(errors="surrogateescape")).hexdigest()[:32]
