"""Loads the examples of tasks from the folder of all sets."""

import csv
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from palmetto.errors import UserError
from palmetto.evaluation.shots import choose
from palmetto.evaluation.tasks.reading import absent, find, missing
from palmetto.evaluation.tasks.task import BITS, Example, File, Record, Source, Task
from palmetto.files import sha256

Made = TypeVar("Made")

_OLMES_SEED, _OLMES_WHOLE = 1234, 1500
"""The seed with which OLMES draws examples, and the most of a set that it takes whole (arXiv 2406.08446)."""


class Loaded(NamedTuple):
    """Holds a task with its examples."""

    task: Task
    examples: list[Example]
    pool: list[Example] | None
    """The examples that shots come from; None for the other examples of the tests."""
    files: tuple[str, ...]
    """The files that were read, as paths in the folder."""
    references: Mapping[str, float] = {}
    """The scores of others, by their names."""

    def shots(self, place: int, count: int | None, seed: int) -> list[Example]:
        """Returns the shots of the example at a place, none of which shares a cluster with it.

        A later question on the same passage may show the answer. count: their number; None for the task's own.
        """
        count = self._wanted(count)
        if not count:
            return []
        pool = self.pool
        if pool is None:
            own = self.examples[place].cluster
            others = self.examples[:place] + self.examples[place + 1 :]
            pool = [other for other in others if other.cluster != own] if own else others
        return choose(pool, count, seed, str(place), self.task.in_order)

    def check_shots(self, count: int | None) -> None:
        """Raises UserError that names the files if an example has fewer shots than are asked for.

        Shots in order are those of a file of their own: other examples of the tests cannot stand in for them.
        """
        wanted, there = self._wanted(count), len(self.examples if self.pool is None else self.pool)
        if wanted and self.pool is None and self.task.in_order:
            first = self.task.training[0]
            raise UserError(f"{self.task.name}: no {first.path} for its shots; expected {first.form}, or --shots 0")
        if self.pool is None:
            there -= max(Counter(each.cluster or place for place, each in enumerate(self.examples)).values())
        if there < wanted:
            raise UserError(
                f"{self.task.name}: {there} examples for shots in {', '.join(self.files)}; expected {wanted}, or "
                "fewer with --shots"
            )

    def _wanted(self, count: int | None) -> int:
        """Returns the number of shots of each example."""
        if not self.task.takes_shots or self.task.metric == BITS:
            return 0
        return self.task.shots if count is None else count


def load(task: Task, folder: Path) -> Loaded:
    """Returns a task with its examples.

    Raises UserError that names the missing file and its format, or the record that is not as the format says.
    """
    check(task, folder)
    tests, preamble = find(task.tests, folder), find(task.preamble, folder)
    assert tests is not None, "it was checked"
    training = find(task.training, folder)
    if training is not None and training.path == tests.path:
        training = None
    if preamble is not None:
        [in_front] = _made(lambda record: record, preamble, folder)
        task = replace(task, **in_front)
    examples = _examples(task, tests, folder)
    if task.most is not None and len(examples) > _OLMES_WHOLE:
        examples = random.Random(_OLMES_SEED).sample(examples, task.most)
    pool = None
    if training is not None:  # which may hold the tests too
        own = {(each.context, each.options) for each in examples}
        pool = [each for each in _examples(task, training, folder) if (each.context, each.options) not in own]
    references = {} if task.references is None else task.references(folder)
    read = tuple(path for file in (tests, training, preamble) if file for path in _paths(file))
    return Loaded(task, examples, pool, read, references)


def files(task: Task, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Returns the files of a task that are in the folder, and the missing ones without which it cannot run, each with
    its format."""
    found = [file for source in (task.tests, task.training, task.preamble) if (file := find(source, folder))]
    lacking = [source for source in _needed(task) if not find(source, folder)]
    forms = {path: source[0].form for source in lacking for path in missing(source, folder)}
    return list(dict.fromkeys(path for file in found for path in _paths(file))), forms


def check(task: Task, folder: Path) -> None:
    """Raises UserError that names a missing file without which a task cannot run, and its format."""
    for source in _needed(task):
        if not find(source, folder):
            raise UserError(f"{task.name}: {absent(source, folder)}")


def _needed(task: Task) -> Iterator[Source]:
    yield task.tests
    if task.preamble:
        yield task.preamble
    if task.curated:
        yield task.training


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and digests of all files in a folder, in hex."""
    if path.is_file():
        return sha256(path)
    inner = sorted(file for file in path.rglob("*") if file.is_file())
    return hashlib.sha256("\n".join(f"{file.relative_to(path)} {sha256(file)}" for file in inner).encode()).hexdigest()


def _paths(file: File) -> Sequence[str]:
    return file.path, *file.companions


def _examples(task: Task, file: File, folder: Path) -> list[Example]:
    examples = _made(task.example, file, folder)
    if not examples:
        raise UserError(f"{folder / file.path}: no records; expected {file.form}")
    return examples


def _made(make: Callable[[Record], Made], file: File, folder: Path) -> list[Made]:
    """Returns what is made of each record of a file; raises UserError that names the file and the record."""
    path, made = folder / file.path, list[Made]()
    try:
        for record in file.read(path):
            made.append(make(record))
    except UserError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, csv.Error) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path}: record {len(made)}: {what}; expected {file.form}") from None
    return made
