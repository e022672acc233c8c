"""Compares evaluations on the same examples, pair by pair: on tasks, on groups and on means over them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.errors import UserError
from palmetto.evaluation.evaluating import RESULTS
from palmetto.evaluation.judging import together
from palmetto.evaluation.recorded import outcomes_of
from palmetto.evaluation.results import set_of, shown
from palmetto.evaluation.scoring import TRANSLATED, cluster_in, estimate_of, values
from palmetto.evaluation.settings import SETTINGS
from palmetto.evaluation.statistics import Comparison, Estimate, compare, mean_of_compared, weighed_alike
from palmetto.evaluation.tasks.task import Outcome
from palmetto.files import read_json

OVER = {"shots": "shots", "step": "step", "parameters": "size"}
"""The quantities that scores are drawn over, with the keys of an evaluation's settings."""

_ABSENT = "not in all evaluations"


class Scores(NamedTuple):
    """Holds the scores of a task, or of all examples of a group, by its own metric, in the order of the examples."""

    examples: list[str]
    """The ids of the examples; of those of one question, the id of the first."""
    values: list[float]
    """The values that the examples add to the score, which is their mean."""
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
    steps and parameters, by folder. "unpaired" says which tasks, groups, categories and suites are left out, and why.

    Each other evaluation has its value, its difference from the first with an interval, and the number of examples that
    such a difference needs. Raises UserError if they did not see the same data, or share no task.
    """
    outcomes = [outcomes_of(folder) for folder in folders]
    _check_data(folders)
    recorded = [read_json(folder / RESULTS) for folder in folders]
    shared, unshared = _shared([of["tasks"] for of in recorded], outcomes)
    if not shared:
        others = ", ".join(map(str, folders[1:]))
        metrics = "".join(f"; {name} is {why}" for name, why in unshared.items() if why != _ABSENT)
        raise UserError(
            f"{folders[0]}: no task that {others} has too, by the same metric{metrics}; expected evaluations with a "
            "task in common"
        )
    groups, ungrouped = _alike([of["tasks"] for of in recorded], "parts", shared)
    scores = {
        name: [_scores(name, parts, own, of["tasks"]) for own, of in zip(outcomes, recorded, strict=True)]
        for name, parts in ({name: [name] for name in shared} | groups).items()
    }
    found = {name: _compare(name, own, folders) for name, own in scores.items()}
    means, uncategorized = _means(recorded, scores, found, groups, folders)
    suites, unsuited = _suites([of.get("suites", {}) for of in recorded])
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
        "suites": suites,
        "unpaired": unshared | ungrouped | uncategorized | unsuited,
    }


def _shared(
    recorded: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Sequence[Outcome]]]
) -> tuple[list[str], dict[str, str]]:
    """Returns the tasks that all evaluations have by the same metric, and why others are left out.

    Those that only some have as parts of a group are not named one by one: the group is.
    """
    shared, left_out = list[str](), dict[str, str]()
    parts = {part for of in recorded for own in of.values() for part in own.get("parts", ())}
    for name in dict.fromkeys(name for of in outcomes for name in of):
        if any(name not in of for of in outcomes):
            left_out |= {} if name in parts else {name: _ABSENT}
        elif len(metrics := dict.fromkeys(of[name]["metric"] for of in recorded)) > 1:
            left_out[name] = f"scored by {' and by '.join(metrics)}"
        else:
            shared.append(name)
    return shared, left_out


def _alike(
    recorded: Sequence[Mapping[str, Any]], key: str, known: Collection[str] | None = None
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Returns the groups, categories or suites that all evaluations have over the same members, and why others are
    left out.

    key: what names the members. known: what can be compared; None if members need not be.
    """
    alike, left_out = dict[str, list[str]](), dict[str, str]()
    for name in dict.fromkeys(name for of in recorded for name, own in of.items() if key in own):
        first, *others = (of.get(name, {}).get(key) for of in recorded)
        if first is None or None in others:
            left_out[name] = _ABSENT
        elif any(other != first for other in others):
            left_out[name] = "not over the same tasks in all evaluations"
        elif known is not None and (unknown := [member for member in first if member not in known]):
            left_out[name] = f"over {', '.join(unknown)}, which cannot be paired"
        else:
            alike[name] = first
    return alike, left_out


def _means(
    recorded: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Sequence[Scores]],
    found: Mapping[str, list[Comparison]],
    groups: Mapping[str, list[str]],
    folders: Sequence[Path],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the means of groups over their tasks, as `mmlu macro`, and of categories, and why others are left out.

    In a category a group counts as one task, with its mean.
    """

    def macro(name: str, parts: Sequence[str]) -> list[Comparison]:
        if name not in TRANSLATED:
            return [mean_of_compared(of_each) for of_each in zip(*(found[part] for part in parts), strict=True)]
        runs = zip(*([own.values for own in scores[part]] for part in parts), strict=True)
        first, *others = map(weighed_alike, runs)
        return [compare(first, other, scores[name][0].clusters) for other in others]

    def mean(members: Sequence[str]) -> list[Comparison]:
        sets = [set_of(recorded[0]["tasks"], name) for name in members]
        return [mean_of_compared(of_each, sets) for of_each in zip(*(standing[name] for name in members), strict=True)]

    macros = {name: macro(name, parts) for name, parts in groups.items()}
    standing = {**found, **macros}
    categories, unpaired = _alike([of["categories"] for of in recorded], "tasks", standing)
    means = {
        f"{name} macro": _told(
            [of["tasks"][name]["macro"] for of in recorded], macro, folders, recorded[0]["tasks"][name]["metric"]
        )
        for name, macro in macros.items()
    } | {
        name: _told([of["categories"][name] for of in recorded], mean(members), folders, "")
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


def _suites(recorded: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the figures of suites over the same tasks, which are not paired, and why other suites are left out."""
    first, (alike, left_out) = recorded[0], _alike(recorded, "tasks")
    figures = {
        f"{suite} {figure}": {
            "values": [each[suite]["figures"][figure] for each in recorded],
            "references": first[suite].get("references", {}),
        }
        for suite in alike
        for figure in first[suite]["figures"]
    }
    return figures, left_out


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
    clusters = [cluster_in(name, part, outcome) for part, outcome in everything]
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
