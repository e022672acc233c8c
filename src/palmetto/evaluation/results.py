"""Sums up the outcomes of tasks as scores from 0 to 100 with intervals, by task, group and category."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from palmetto.evaluation.judging import together
from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.statistics import Estimate, estimate, mean_of, ratio
from palmetto.evaluation.tasks.task import BITS, Outcome

Part = tuple[Loaded, Sequence[Outcome]]
Evaluated = Mapping[str, tuple[Loaded, list[Outcome]]]
"""The tasks that were run, by name, with their outcomes."""


def summarize(evaluated: Evaluated, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Returns {"tasks": …, "categories": …} as plain values.

    groups: names of groups with their tasks, all of which were run. A group's value is the mean over all of its
    examples, its macro mean that over its tasks.
    """
    estimates = {name: _estimate(loaded, outcomes) for name, (loaded, outcomes) in evaluated.items()}
    tasks = {name: _task(loaded, outcomes, estimates[name]) for name, (loaded, outcomes) in evaluated.items()}
    texts = {name for name, (loaded, _) in evaluated.items() if loaded.task.metric == BITS}
    in_groups = {name for parts in groups.values() for name in parts}
    standing = {name: estimates[name] for name in evaluated if name not in in_groups | texts}
    for group, parts in groups.items():
        most = math.inf if texts & set(parts) else 1.0
        macro = mean_of([estimates[name] for name in parts], most)
        tasks[group] = _group([evaluated[name] for name in parts], macro, list(parts))
        if not texts & set(parts):
            standing[group] = macro
    return {"tasks": tasks, "categories": _categories(tasks, standing)}


def shown(estimate: Estimate, metric: str) -> dict[str, Any]:
    """Returns value, interval and standard error, bits as they are and scores from 0 to 100, to a millionth."""
    scale, (low, high) = 1 if metric == BITS else 100, estimate.interval
    error = None if math.isnan(estimate.error) else round(scale * estimate.error, 6)
    interval = [round(scale * low, 6), round(scale * high, 6)]
    return {"value": round(scale * estimate.value, 6), "interval": interval, "error": error}


def _estimate(loaded: Loaded, outcomes: Sequence[Outcome]) -> Estimate:
    return _estimate_all([(loaded, outcomes)])


def _estimate_all(parts: Sequence[Part]) -> Estimate:
    """Returns the mean over the examples of several tasks with the same metric; of texts, bits over all bytes."""
    everything = [(loaded.task, outcome) for loaded, outcomes in parts for outcome in together(outcomes)]
    clusters = [f"{task.name}\0{outcome.cluster}" for task, outcome in everything]
    if everything[0][0].metric == BITS:
        bits, sizes = [outcome.bits for _, outcome in everything], [outcome.size for _, outcome in everything]
        return ratio(bits, sizes, clusters)
    return estimate([outcome.scores[task.metric] for task, outcome in everything], clusters)


def _task(loaded: Loaded, outcomes: Sequence[Outcome], own: Estimate) -> dict[str, Any]:
    task, joined = loaded.task, together(outcomes)
    names = dict.fromkeys(name for outcome in joined for name in outcome.scores if name != BITS)
    metrics = {name: float(np.mean([outcome.scores.get(name, 0.0) for outcome in joined])) for name in names}
    metrics |= task.figures(outcomes) if task.figures else {}
    return {
        "metric": task.metric,
        **shown(own, task.metric),
        **_counts([(loaded, outcomes)]),
        "metrics": {name: round(100 * value, 6) for name, value in metrics.items()},
        "normalization": task.normalization if outcomes[0].options else None,
        "bits_per_byte": _bits_per_byte(outcomes),
        "category": task.category,
        "files": list(loaded.files),
    }


def _group(parts: Sequence[Part], macro: Estimate, names: list[str]) -> dict[str, Any]:
    task = parts[0][0].task
    return {
        "metric": task.metric,
        **shown(_estimate_all(parts), task.metric),
        **_counts(parts),
        "macro": shown(macro, task.metric),
        "category": task.category,
        "parts": names,
    }


def _counts(parts: Sequence[Part]) -> dict[str, Any]:
    """Returns how many examples there are, of how many something must be known, and what guessing would score."""
    joined = [outcome for _, outcomes in parts for outcome in together(outcomes)]
    places = {place for _, outcomes in parts for outcome in outcomes for place in outcome.gold}
    always = [_mean(parts, partial(_is_gold, place)) for place in sorted(places)]
    return {
        "count": len(joined),
        "truncated": sum(outcome.truncated for outcome in joined),
        "unparsed": sum(outcome.unparsed for outcome in joined),
        "ties": sum(outcome.tie for outcome in joined),
        "spanning": sum(outcome.spans for outcome in joined),
        "chance": _mean(parts, lambda outcome: len(outcome.gold) / max(1, outcome.options)),
        "majority": max(always, default=0.0),
    }


def _bits_per_byte(outcomes: Sequence[Outcome]) -> float | None:
    """Returns the information in the right options by their bytes, which tells small models apart before scores do."""
    size = sum(outcome.size for outcome in outcomes)
    return round(sum(outcome.bits for outcome in outcomes) / size, 6) if size else None


def _is_gold(place: int, outcome: Outcome) -> float:
    return float(place in outcome.gold)


def _mean(parts: Sequence[Part], score: Callable[[Outcome], float]) -> float:
    """Returns the mean score over all examples, 0 to 100, if each outcome had another one."""
    changed = [[outcome._replace(scores={"": score(outcome)}) for outcome in outcomes] for _, outcomes in parts]
    return round(100 * float(np.mean([each.scores[""] for outcomes in changed for each in together(outcomes)])), 6)


def _categories(tasks: Mapping[str, Any], standing: Mapping[str, Estimate]) -> dict[str, Any]:
    """Returns the mean of each category over its tasks; a group counts as one, with its macro mean."""
    members: dict[str, list[str]] = {}
    for name in standing:
        members.setdefault(tasks[name]["category"], []).append(name)
    return {
        category: {**shown(mean_of([standing[name] for name in names]), ""), "tasks": names}
        for category, names in members.items()
    }
