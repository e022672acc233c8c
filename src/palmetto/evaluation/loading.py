"""Loads the examples of tasks from the folder of all sets."""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from palmetto.errors import UserError
from palmetto.evaluation.shots import choose
from palmetto.evaluation.tasks.reading import absent, find, missing
from palmetto.evaluation.tasks.task import Example, File, Source, Task
from palmetto.files import sha256

_OLMES_SEED = 1234
"""The seed with which OLMES draws examples (arXiv 2406.08446, section 3.5)."""


class Loaded(NamedTuple):
    """Holds a task with its examples."""

    task: Task
    examples: list[Example]
    pool: list[Example] | None
    """The examples that shots come from; None for the other examples of the tests."""
    files: tuple[str, ...]
    """The files that were read, as paths in the folder."""
    references: Mapping[str, float] = {}
    """What others score, by their names."""

    def shots(self, place: int, count: int | None, seed: int) -> list[Example]:
        """Returns the shots of the example at a place, never the example itself.

        count: their number; None for the task's own.
        """
        count = self.task.shots if count is None else count
        if not count or not self.task.takes_shots:
            return []
        pool = self.pool
        if pool is None:
            pool = self.examples[:place] + self.examples[place + 1 :]
        return choose(pool, count, seed, str(place), self.task.in_order)


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
        [record] = preamble.read(folder / preamble.path)
        task = replace(task, instruction=record["text"])
    examples = _examples(task, tests, folder)
    if task.most is not None and task.most < len(examples):
        examples = random.Random(_OLMES_SEED).sample(examples, task.most)
    pool = None if training is None else _examples(task, training, folder)
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
    path, examples = folder / file.path, list[Example]()
    for record in file.read(path):
        try:
            examples.append(task.example(record))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{path}: record {len(examples)}: {what}; expected {file.form}") from None
    if not examples:
        raise UserError(f"{path}: no records; expected {file.form}")
    return examples
