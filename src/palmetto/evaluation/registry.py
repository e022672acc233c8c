"""Finds tasks, groups and lists of tasks by name."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.errors import UserError, nearest
from palmetto.evaluation import described
from palmetto.evaluation.loading import check, files
from palmetto.evaluation.tasks import (
    arithmetic,
    bias,
    bigbench,
    blimp,
    chains,
    cloze,
    code,
    common_sense,
    dialogues,
    drop,
    exams,
    glam,
    inference,
    mmlu,
    multirc,
    questions,
    race,
    reasoning,
    record,
    squad,
    superglue,
    texts,
    winograd,
    xcopa,
)
from palmetto.evaluation.tasks.task import Task

_ALL: tuple[tuple[Task, ...], ...] = (
    questions.TASKS,
    cloze.TASKS,
    winograd.TASKS,
    common_sense.TASKS,
    exams.TASKS,
    squad.TASKS,
    drop.TASKS,
    dialogues.TASKS,
    race.TASKS,
    superglue.TASKS,
    multirc.TASKS,
    record.TASKS,
    inference.TASKS,
    arithmetic.TASKS,
    arithmetic.TRANSLATED,
    reasoning.TASKS,
    chains.TASKS,
    bigbench.TASKS,
    bias.TASKS,
    mmlu.TASKS,
    blimp.TASKS,
    xcopa.TASKS,
    texts.TASKS,
    code.TASKS,
)
TASKS: Mapping[str, Task] = {task.name: task for tasks in _ALL for task in tasks}
GROUPS: Mapping[str, tuple[str, ...]] = {
    name: parts
    for module in (arithmetic, reasoning, chains, mmlu, blimp, xcopa, squad, texts)
    for name, parts in module.GROUPS.items()
}
"""The parts of one set, which together have a score."""
LISTS: Mapping[str, tuple[str, ...]] = {"glam": glam.TASKS}
"""Short names for several tasks, which have no score together."""


class Chosen(NamedTuple):
    """Holds the tasks that were asked for."""

    tasks: list[Task]
    groups: dict[str, list[str]]
    """The groups that were asked for, each with those of its tasks whose files are there."""


def choose(names: Iterable[str], folder: Path) -> Chosen:
    """Returns the tasks of these names; a group or list stands for those of its tasks whose files are there.

    A name that ends with .yaml is a file that describes a task.

    Raises UserError for an unknown name, naming the nearest one, and for a missing file, with its format.
    """
    if not folder.is_dir():
        raise UserError(f"--data {folder}: no such folder; expected one with a folder for each set")
    chosen, groups = dict[str, Task](), dict[str, list[str]]()
    for name in names:
        if name.endswith((".yaml", ".yml")):
            own = described.load(Path(name))
            check(own, folder)
            chosen[own.name] = own
            continue
        parts = GROUPS.get(name) or LISTS.get(name) or (name,)
        if parts == (name,) and name not in TASKS:
            close = nearest(name, [*TASKS, *GROUPS, *LISTS])
            raise UserError(f"--tasks {name}: no such task{close}; `palmetto tasks` lists them")
        ready = [part for part in parts if not files(TASKS[part], folder)[1]]
        if not ready:
            check(TASKS[parts[0]], folder)
        if name in GROUPS:
            groups[name] = ready
        chosen |= {part: TASKS[part] for part in ready}
    return Chosen(list(chosen.values()), groups)


def inventory(folder: Path) -> list[dict[str, Any]]:
    """Returns for each task, group and list whether it is ready, the files that it reads, and which are missing.

    A group or list is ready if one of its tasks is.
    """
    found = {name: files(task, folder) for name, task in TASKS.items()}
    rows = [_row(name, [of], not of[1]) for name, of in found.items()]
    for name, parts in (*GROUPS.items(), *LISTS.items()):
        of_parts = [found[part] for part in parts]
        rows.append(_row(name, of_parts, any(not missing for _, missing in of_parts)))
    return rows


def _row(name: str, found: list[tuple[list[str], list[str]]], ready: bool) -> dict[str, Any]:
    return {
        "name": name,
        "ready": ready,
        "files": [path for there, _ in found for path in there],
        "missing": [path for _, missing in found for path in missing],
    }
