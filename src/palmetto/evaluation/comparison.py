"""Compares evaluations on the same examples, pair by pair: on tasks, on groups and on means over them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.errors import UserError
from palmetto.evaluation.evaluating import RESULTS
from palmetto.evaluation.judging import together
from palmetto.evaluation.recorded import outcomes_of
from palmetto.evaluation.results import shown
from palmetto.evaluation.scoring import estimate_of, values
from palmetto.evaluation.settings import SETTINGS
from palmetto.evaluation.statistics import Comparison, Estimate, compare, mean_of_compared
from palmetto.evaluation.tasks.task import Outcome
from palmetto.files import read_json

OVER = {"shots": "shots", "step": "step", "parameters": "size"}
"""What scores are drawn over, with the keys of an evaluation's settings."""


class Scores(NamedTuple):
    """Holds the scores of a task, or of all examples of a group, by its own metric, in the order of the examples."""

    examples: list[str]
    """The ids of the examples; of those of one question, the id of the first."""
    values: list[float]
    """What each example adds to the score, which is their mean."""
    clusters: list[str]
    own: Estimate
    """The score with its interval."""
    metric: str
    files: list[str]
    """The files that were read."""
    baselines: dict[str, float]
    """Holds what chance, the best place and a model without bias score, and whether higher is better."""


def compare_all(folders: Sequence[Path]) -> dict[str, Any]:
    """Returns {"folders", "over", "tasks": {NAME: {"metric", "first", "others"}}, "means", "suites", "unpaired"}.

    "tasks" has the tasks that all evaluations have, and the groups over all of their examples; "means" those of groups
    over their tasks, and of categories. "over" has what is another in each evaluation, among the numbers of shots,
    steps and parameters, by folder. "unpaired" says which groups and categories are left out, and why.

    Each other evaluation has its value, its difference from the first with an interval, and the number of examples that
    such a difference needs. Raises UserError if they did not see the same data, or share no task.
    """
    outcomes = [outcomes_of(folder) for folder in folders]
    _check_data(folders)
    recorded = [read_json(folder / RESULTS) for folder in folders]
    shared = [name for name in outcomes[0] if all(name in each for each in outcomes[1:])]
    if not shared:
        others = ", ".join(map(str, folders[1:]))
        raise UserError(f"{folders[0]}: no task that {others} has too; expected evaluations with a task in common")
    groups, ungrouped = _alike([of["tasks"] for of in recorded], "parts", shared)
    scores = {
        name: [_scores(name, parts, own, of["tasks"]) for own, of in zip(outcomes, recorded, strict=True)]
        for name, parts in ({name: [name] for name in shared} | groups).items()
    }
    found = {name: _compare(name, own, folders) for name, own in scores.items()}
    means, unpaired = _means(recorded, found, groups, folders)
    return {
        "folders": list(map(str, folders)),
        "over": _over([read_json(folder / SETTINGS) for folder in folders]),
        "tasks": {
            name: {
                "metric": own[0].metric,
                **({"parts": groups[name]} if name in groups else {}),
                **_told(
                    [shown(each.own, each.metric) | each.baselines for each in own], found[name], folders, own[0].metric
                ),
            }
            for name, own in scores.items()
        },
        "means": means,
        "suites": _suites([of.get("suites", {}) for of in recorded]),
        "unpaired": ungrouped | unpaired,
    }


def _alike(
    recorded: Sequence[Mapping[str, Any]], key: str, known: Collection[str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Returns the groups or categories that all evaluations have over the same members, and why others are left out.

    key: what names the members. known: what can be compared.
    """
    alike, left_out = dict[str, list[str]](), dict[str, str]()
    first, *others = recorded
    for name, of in first.items():
        if key not in of or any(name not in other for other in others):
            continue
        members = of[key]
        if any(other[name].get(key) != members for other in others) or not set(members) <= set(known):
            left_out[name] = "not over the same tasks in all evaluations"
        else:
            alike[name] = members
    return alike, left_out


def _means(
    recorded: Sequence[Mapping[str, Any]],
    found: Mapping[str, list[Comparison]],
    groups: Mapping[str, list[str]],
    folders: Sequence[Path],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the means of groups over their tasks, as `mmlu macro`, and of categories, and why others are left out.

    In a category a group counts as one task, with its mean.
    """

    def mean(members: Sequence[str], of: Mapping[str, list[Comparison]]) -> list[Comparison]:
        return [mean_of_compared(parts) for parts in zip(*(of[name] for name in members), strict=True)]

    macros = {name: mean(parts, found) for name, parts in groups.items()}
    standing = {**found, **macros}
    categories, unpaired = _alike([of["categories"] for of in recorded], "tasks", standing)
    means = {
        f"{name} macro": _told(
            [of["tasks"][name]["macro"] for of in recorded], macro, folders, recorded[0]["tasks"][name]["metric"]
        )
        for name, macro in macros.items()
    } | {
        name: _told([of["categories"][name] for of in recorded], mean(members, standing), folders, "")
        for name, members in categories.items()
    }
    return means, unpaired


def _told(
    values: Sequence[Mapping[str, Any]], compared: Sequence[Comparison], folders: Sequence[Path], metric: str
) -> dict[str, Any]:
    """Returns {"count", "first", "others"}: the values of all, and how much the others differ from the first."""
    others = []
    for folder, own, (difference, _, needed) in zip(folders[1:], values[1:], compared, strict=True):
        told = shown(difference, metric)
        others.append(
            {
                "folder": str(folder),
                **own,
                "difference": told["value"],
                "difference_interval": told["interval"],
                "needed": needed,
            }
        )
    return {"count": compared[0].examples, "first": values[0], "others": others}


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


def _compare(name: str, scores: Sequence[Scores], folders: Sequence[Path]) -> list[Comparison]:
    """Returns how the others differ from the first; raises UserError if their examples cannot be paired."""
    first, found = scores[0], list[Comparison]()
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
        found.append(compare(first.values, other.values, first.clusters))
    return found


def _scores(
    name: str, parts: Sequence[str], outcomes: Mapping[str, Sequence[Outcome]], results: Mapping[str, Any]
) -> Scores:
    """Returns the scores of a task or group. parts: its tasks, or its own name."""
    everything = [(part, outcome) for part in parts for outcome in together(outcomes[part])]
    joined = [outcome for _, outcome in everything]
    clusters = [f"{part}\0{outcome.cluster}" for part, outcome in everything]
    metric, keys = results[name]["metric"], ("chance", "majority", "higher_is_better", "neutral")
    return Scores(
        [f"{part}\0{outcome.example}" for part, outcome in everything],
        values(metric, joined),
        clusters,
        estimate_of(metric, joined, clusters),
        metric,
        [path for part in parts for path in results[part]["files"]],
        {key: results[name][key] for key in keys if key in results[name]},
    )


def _check_data(folders: Sequence[Path]) -> None:
    """Raises UserError if evaluations read different files of the same name; it names the file."""
    data = [read_json(folder / SETTINGS)["data"] for folder in folders]
    for folder, other in zip(folders[1:], data[1:], strict=True):
        for path in data[0].keys() & other.keys():
            if data[0][path] != other[path]:
                raise UserError(f"{folder}: {path} is not the file that {folders[0]} was made with")
