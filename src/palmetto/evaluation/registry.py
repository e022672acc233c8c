"""Knows all tasks by name."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.errors import UserError, nearest
from palmetto.evaluation.loading import files
from palmetto.evaluation.tasks import (
    blimp,
    common_sense,
    exams,
    multirc,
    questions,
    record,
    superglue,
    winograd,
    xcopa,
)
from palmetto.evaluation.tasks.reading import absent, find
from palmetto.evaluation.tasks.task import Task

TASKS = {
    task.name: task
    for module in (superglue, multirc, record, winograd, exams, common_sense, questions, blimp, xcopa)
    for task in module.TASKS
}
GROUPS: Mapping[str, tuple[str, ...]] = {**blimp.GROUPS, **xcopa.GROUPS}


class Chosen(NamedTuple):
    """Holds the tasks that were asked for."""

    tasks: list[Task]
    groups: dict[str, list[str]]
    """The groups that were asked for, each with those of its tasks whose files are there."""


def choose(names: Iterable[str], folder: Path) -> Chosen:
    """Returns the tasks of these names; a group stands for those of its tasks whose files are there.

    Raises UserError for an unknown name, naming the nearest one, and for a missing file, with its format.
    """
    if not folder.is_dir():
        raise UserError(f"--data {folder}: no such folder; expected one with a folder for each set")
    chosen, groups = dict[str, Task](), dict[str, list[str]]()
    for name in names:
        if name not in TASKS and name not in GROUPS:
            close = nearest(name, [*TASKS, *GROUPS])
            raise UserError(f"--tasks {name}: no such task{close}; `palmetto tasks` lists them")
        parts = GROUPS.get(name, (name,))
        ready = [part for part in parts if find(TASKS[part].tests, folder)]
        if not ready:
            raise UserError(f"{name}: {absent(TASKS[parts[0]].tests, folder)}")
        if name in GROUPS:
            groups[name] = ready
        chosen |= {part: TASKS[part] for part in ready}
    return Chosen(list(chosen.values()), groups)


def inventory(folder: Path) -> list[dict[str, Any]]:
    """Returns for each task and group whether it is ready, the files that it reads, and which are missing."""
    found = {name: files(task, folder) for name, task in TASKS.items()}
    rows = [
        {"name": name, "ready": not missing, "files": there, "missing": missing}
        for name, (there, missing) in found.items()
    ]
    for name, parts in GROUPS.items():
        ready = [part for part in parts if not found[part][1]]
        rows.append(
            {
                "name": name,
                "ready": bool(ready),
                "files": [path for part in ready for path in found[part][0]],
                "missing": [path for part in parts for path in found[part][1]],
            }
        )
    return rows
