"""Compares scores on examples that the training text contains with those on the others (arXiv 2204.02311, section 8).

The corpus has a mark for each example of the sets that it was built with. They are those of a task if the task has as
many examples as the marked file, in the same order.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.corpus.directory import MARKS
from palmetto.errors import UserError
from palmetto.evaluation.evaluating import RESULTS
from palmetto.evaluation.judging import together
from palmetto.evaluation.recorded import outcomes_of
from palmetto.evaluation.results import shown
from palmetto.evaluation.scoring import estimate_of
from palmetto.evaluation.settings import SETTINGS
from palmetto.evaluation.statistics import Estimate, Z
from palmetto.evaluation.tasks.task import Outcome
from palmetto.files import read_json
from palmetto.json_lines import read_json_lines


class Marks(NamedTuple):
    """Holds the marks of one file of examples."""

    set: str
    contaminated: list[bool]
    """True for each example of the file that the training text contains."""


def split(out: Path, corpus: Path) -> dict[str, Any]:
    """Returns {"tasks": {NAME: {"clean", "contaminated", "difference", …}}, "unmarked": {NAME: why}}.

    The difference is that of the contaminated examples from the clean ones. Raises UserError if the folders hold no
    evaluation of whole sets, or no marks.
    """
    if not (corpus / MARKS).is_dir():
        raise UserError(f"{corpus}: no folder {MARKS} in it; expected a corpus that was built with evaluation sets")
    limit = read_json(out / SETTINGS)["limit"]
    if limit is not None:
        raise UserError(f"{out}: evaluated with --limit {limit}; expected whole sets, whose examples have marks")
    tasks, unmarked = dict[str, Any](), dict[str, str]()
    results = read_json(out / RESULTS)["tasks"]
    for name, outcomes in outcomes_of(out).items():
        marks = _marks(corpus / MARKS, results[name]["files"][0])
        if marks is None:
            unmarked[name] = f"the corpus has no marks for {results[name]['files'][0]}"
        elif len(marks.contaminated) != len(outcomes):
            unmarked[name] = f"{len(outcomes)} examples, but {len(marks.contaminated)} marks for {marks.set}"
        else:
            tasks[name] = _task(results[name]["metric"], outcomes, marks)
    return {"tasks": tasks, "unmarked": unmarked}


def _marks(folder: Path, path: str) -> Marks | None:
    """Returns the marks of the set that a file is; sets are named by the end of the path, without extensions."""
    stem = path.removesuffix(".gz").removesuffix(".zst").rpartition(".")[0]
    for file in sorted(folder.rglob("*.jsonl")):
        name = file.relative_to(folder).as_posix().removesuffix(".jsonl")
        if f"/{name}".endswith(f"/{stem}"):
            return Marks(name, [bool(line["contaminated"]) for line in read_json_lines(file)])
    return None


def _task(metric: str, outcomes: Sequence[Outcome], marks: Marks) -> dict[str, Any]:
    sides: dict[bool, list[Outcome]] = {False: [], True: []}
    for outcome in outcomes:
        sides[marks.contaminated[int(outcome.example)]].append(outcome)
    clean, contaminated = (_estimate(metric, together(sides[side])) for side in (False, True))
    values: dict[str, Any] = {"metric": metric, "set": marks.set}
    for name, estimate, side in (("clean", clean, False), ("contaminated", contaminated, True)):
        values[name] = {**shown(estimate, metric), "count": len(sides[side])} if estimate else None
    values["difference"] = None
    if clean and contaminated:
        change, error = contaminated.value - clean.value, math.hypot(clean.error, contaminated.error)
        reach = 1.0 if math.isnan(error) else Z * error
        values["difference"] = shown(Estimate(change, error, (change - reach, change + reach)), metric)
    return values


def _estimate(metric: str, outcomes: Sequence[Outcome]) -> Estimate | None:
    return estimate_of(metric, outcomes, [outcome.cluster for outcome in outcomes]) if outcomes else None
