"""Finds tasks, groups and lists of tasks by name."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from palmetto.errors import UserError, nearest
from palmetto.evaluation import described
from palmetto.evaluation.loading import check, files
from palmetto.evaluation.scorer import DEFAULT
from palmetto.evaluation.tasks import (
    arithmetic,
    bbq,
    bias,
    bigbench,
    blimp,
    chains,
    cloze,
    code,
    common_sense,
    cooccurrence,
    core,
    dialogues,
    drop,
    exams,
    glam,
    gpt3,
    inference,
    mmlu,
    multirc,
    olmes,
    questions,
    race,
    reasoning,
    record,
    squad,
    superglue,
    texts,
    toxicity,
    translation,
    winograd,
    writing,
    xcopa,
)
from palmetto.evaluation.tasks.suite import Suite
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
    gpt3.TASKS,
    core.TASKS,
    olmes.TASKS,
    translation.TASKS,
    writing.TASKS,
    bbq.TASKS,
    toxicity.TASKS,
    cooccurrence.TASKS,
)
TASKS: Mapping[str, Task] = {task.name: task for tasks in _ALL for task in tasks}
GROUPS: Mapping[str, tuple[str, ...]] = {
    name: parts
    for module in (arithmetic, reasoning, chains, mmlu, blimp, xcopa, squad, texts, olmes, bbq)
    for name, parts in module.GROUPS.items()
}
"""The parts of one set, which together have a score."""
SUITES: Mapping[str, Suite] = {
    name: suite
    for module in (glam, gpt3, superglue, core, olmes, bigbench, translation, writing)
    for name, suite in module.SUITES.items()
}
"""Tasks that papers report together."""


class Chosen(NamedTuple):
    """Holds the tasks that were asked for."""

    tasks: list[Task]
    groups: dict[str, list[str]]
    """The groups that were asked for, each with those of its tasks whose files are there."""
    suites: dict[str, Suite]
    """The suites that were asked for."""

    @property
    def lacking(self) -> dict[str, list[str]]:
        """The tasks of each group whose files are missing."""
        return {group: [name for name in GROUPS[group] if name not in parts] for group, parts in self.groups.items()}


def choose(names: Iterable[str], folder: Path, scorer: str = DEFAULT) -> Chosen:
    """Returns the tasks of these names; a group or suite stands for those of its tasks whose files are there.

    A name that ends with .yaml is a file that describes a task, one with .json a task of BIG-bench. A group brings the
    groups within it. scorer: the function that scores toxicity, as MODULE:FUNCTION.

    Raises UserError for an unknown name, naming the nearest one, for a missing file, with its format, and for a task
    that two suites show with different numbers of shots.
    """
    _check_folder(folder)
    chosen, groups, suites = dict[str, Task](), dict[str, list[str]](), dict[str, Suite]()
    for name in names:
        if name.endswith((".yaml", ".yml", ".json")):
            own = bigbench.load(Path(name)) if name.endswith(".json") else described.load(Path(name))
            check(own, folder)
            if own.name in {*chosen, *TASKS, *GROUPS, *SUITES}:
                raise UserError(f"--tasks {name}: another task is called {own.name} too; expected a name of its own")
            chosen[own.name] = own
            continue
        if name not in TASKS and name not in GROUPS and name not in SUITES:
            close = nearest(name, [*TASKS, *GROUPS, *SUITES])
            raise UserError(f"--tasks {name}: no such task{close}; `palmetto tasks` lists them")
        shots = {part: count for of, count in _members(name).items() for part in GROUPS.get(of, (of,))}
        ready = {part: count for part, count in shots.items() if not files(TASKS[part], folder)[1]}
        if not ready:
            check(TASKS[next(iter(shots))], folder)
        for part, count in ready.items():
            task = TASKS[part] if count is None else replace(TASKS[part], shots=count)
            if part in toxicity.NAMES:
                task = toxicity.scored_by(scorer, task)
            if chosen.setdefault(part, task).shots != task.shots:
                raise UserError(
                    f"--tasks {name}: shows {task.shots} examples in front of {part}, and another name "
                    f"{chosen[part].shots}; evaluate one at a time"
                )
        for group in GROUPS:
            parts = [part for part in GROUPS[group] if part in ready]
            if parts and set(GROUPS[group]) <= shots.keys():
                groups[group] = parts
        if name in SUITES:
            suites[name] = SUITES[name]
    return Chosen(list(chosen.values()), groups, suites)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"--data {folder}: no such folder; expected one with a folder for each set")


def _members(name: str) -> Mapping[str, int | None]:
    """Returns the tasks and groups that a name stands for, with the shots that a suite shows."""
    return SUITES[name].shots if name in SUITES else {name: None}


class Row(NamedTuple):
    """Says what is there of a task, group or suite."""

    name: str
    ready: bool
    """True if the task can run; of a group or suite, if one of its tasks can."""
    files: list[str]
    """The files that it reads, as far as they are there."""
    missing: dict[str, str]
    """The files that are missing, each with its format."""


def inventory(folder: Path) -> list[Row]:
    """Returns a row for each task, group and suite. Raises UserError if there is no such folder."""
    _check_folder(folder)
    found = {name: files(task, folder) for name, task in TASKS.items()}
    rows = [_row(name, [of], not of[1]) for name, of in found.items()]
    for name in (*GROUPS, *SUITES):
        of_parts = [found[part] for of in _members(name) for part in GROUPS.get(of, (of,))]
        rows.append(_row(name, of_parts, any(not missing for _, missing in of_parts)))
    return rows


def _row(name: str, found: list[tuple[list[str], dict[str, str]]], ready: bool) -> Row:
    there = [path for paths, _ in found for path in paths]
    return Row(name, ready, there, {path: form for _, missing in found for path, form in missing.items()})
