"""Compares evaluations on the same examples, pair by pair."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.errors import UserError
from palmetto.evaluation.evaluating import RESULTS
from palmetto.evaluation.judging import together
from palmetto.evaluation.recorded import outcomes_of
from palmetto.evaluation.results import shown
from palmetto.evaluation.scoring import estimate_of, values
from palmetto.evaluation.settings import SETTINGS
from palmetto.evaluation.statistics import Estimate, compare
from palmetto.files import read_json

OVER = {"shots": "shots", "step": "step", "parameters": "size"}
"""What scores are drawn over, with the keys of an evaluation's settings."""


class Scores(NamedTuple):
    """Holds the scores of one task by its own metric, in the order of its examples."""

    examples: list[str]
    """The ids of the examples; of those of one question, the id of the first."""
    values: list[float]
    """What each example adds to the score, which is their mean."""
    clusters: list[str]
    own: Estimate
    """The score of the task, with its interval."""
    metric: str
    files: list[str]
    """The files that the task was read from."""
    baselines: dict[str, float]
    """Holds what chance and the best place score, and whether higher is better."""


def compare_all(folders: Sequence[Path]) -> dict[str, Any]:
    """Returns {"folders", "over", "tasks": {NAME: {"metric", "first", "others": [...]}}, "suites"} for what all have.

    "over" has what is another in each evaluation, among the numbers of shots, steps and parameters, by folder.

    Each other evaluation has its value, its difference from the first with an interval, and the number of examples that
    such a difference needs. Raises UserError if they did not see the same data, or share no task.
    """
    evaluations = [_read(folder) for folder in folders]
    _check_data(folders)
    shared = [name for name in evaluations[0] if all(name in each for each in evaluations[1:])]
    if not shared:
        others = ", ".join(map(str, folders[1:]))
        raise UserError(f"{folders[0]}: no task that {others} has too; expected evaluations with a task in common")
    return {
        "folders": list(map(str, folders)),
        "over": _over([read_json(folder / SETTINGS) for folder in folders]),
        "tasks": {name: _task(name, [each[name] for each in evaluations], folders) for name in shared},
        "suites": _suites([read_json(folder / RESULTS).get("suites", {}) for folder in folders]),
    }


def _suites(recorded: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the figures that all evaluations have of a suite, over the same tasks; they are not paired."""
    first, *others = recorded
    return {
        f"{suite} {figure}": {
            "values": [each[suite]["figures"][figure] for each in recorded],
            "references": first[suite].get("references", {}),
        }
        for suite in first
        if all(suite in each and each[suite]["tasks"] == first[suite]["tasks"] for each in others)
        for figure in first[suite]["figures"]
    }


def _over(settings: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    found = {name: [each[key] for each in settings if each.get(key) is not None] for name, key in OVER.items()}
    return {name: values for name, values in found.items() if len(set(values)) == len(settings)}


def _task(name: str, scores: Sequence[Scores], folders: Sequence[Path]) -> dict[str, Any]:
    first, metric = scores[0], scores[0].metric
    others = []
    for folder, other in zip(folders[1:], scores[1:], strict=True):
        if other.files != first.files:
            raise UserError(
                f"{folder}: {name} was read from {', '.join(other.files)}, and from {', '.join(first.files)} in "
                f"{folders[0]}; expected the same files, so that examples can be paired"
            )
        if other.examples != first.examples:
            raise UserError(
                f"{folder}: {len(other.examples)} examples of {name}, and {len(first.examples)} in {folders[0]}; "
                "expected the same, so that they can be paired: use the same --limit"
            )
        found = compare(first.values, other.values, first.clusters)
        difference = shown(found.difference, metric)
        others.append(
            {
                "folder": str(folder),
                **shown(other.own, metric),
                **other.baselines,
                "difference": difference["value"],
                "difference_interval": difference["interval"],
                "needed": found.needed,
            }
        )
    return {
        "metric": metric,
        "count": len(first.values),
        "first": {**shown(first.own, metric), **first.baselines},
        "others": others,
    }


def _read(folder: Path) -> dict[str, Scores]:
    outcomes = outcomes_of(folder)
    results, scores = read_json(folder / RESULTS)["tasks"], dict[str, Scores]()
    for name, each in outcomes.items():
        joined = together(each)
        metric, files = results[name]["metric"], results[name]["files"]
        keys = ("chance", "majority", "higher_is_better")
        baselines = {key: results[name][key] for key in keys if key in results[name]}
        examples, clusters = [outcome.example for outcome in joined], [outcome.cluster for outcome in joined]
        own = estimate_of(metric, joined, clusters)
        scores[name] = Scores(examples, values(metric, joined), clusters, own, metric, files, baselines)
    return scores


def _check_data(folders: Sequence[Path]) -> None:
    """Raises UserError if evaluations read different files of the same name; it names the file."""
    data = [read_json(folder / SETTINGS)["data"] for folder in folders]
    for folder, other in zip(folders[1:], data[1:], strict=True):
        for path in data[0].keys() & other.keys():
            if data[0][path] != other[path]:
                raise UserError(f"{folder}: {path} is not the file that {folders[0]} was made with")
