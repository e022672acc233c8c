"""Sums up the outcomes of tasks as scores from 0 to 100 with intervals, by task, group and category."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from palmetto.evaluation.judging import together
from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.scoring import TRANSLATED, cluster_in, estimate_of, macro_of
from palmetto.evaluation.statistics import Estimate, mean_of
from palmetto.evaluation.tasks.suite import Measured, Suite
from palmetto.evaluation.tasks.task import AS_THEY_ARE, BITS, NEUTRAL, Outcome, higher_is_better

Part = tuple[Loaded, Sequence[Outcome]]
Evaluated = Mapping[str, tuple[Loaded, list[Outcome]]]
"""The tasks that were run, by name, with their outcomes."""
_LANGUAGES = (*(f"{group}_" for group in sorted(TRANSLATED)), "flores200-", "wmt14-", "wmt16-", "wmt19-")
"""Names of tasks on the same texts in several languages begin with one of these."""


def summarize(
    evaluated: Evaluated,
    groups: Mapping[str, Sequence[str]],
    suites: Mapping[str, Suite] = MappingProxyType({}),
    lacking: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Returns {"tasks": …, "categories": …, "suites": …} as plain values.

    groups: names of groups with their tasks, all of which were run. A group's value is the mean over all of its
    examples, its macro mean that over its tasks. suites: those whose figures are wanted, over the tasks that were run.
    lacking: the tasks of groups that were not run.
    """
    estimates = {name: _estimate(loaded, outcomes) for name, (loaded, outcomes) in evaluated.items()}
    metrics = {name: _metrics(*of, estimates[name]) for name, of in evaluated.items()}
    tasks = {name: _task(*of, estimates[name], metrics[name]) for name, of in evaluated.items()}
    unscaled = {name for name, (loaded, _) in evaluated.items() if loaded.task.metric in AS_THEY_ARE}
    no_skill = {name for name, (loaded, _) in evaluated.items() if not higher_is_better(loaded.task.metric)} | unscaled
    in_groups = {name for parts in groups.values() for name in parts}
    standing = {name: estimates[name] for name in evaluated if name not in in_groups | no_skill}
    for group, parts in groups.items():
        most = math.inf if unscaled & set(parts) else 1.0
        members = [evaluated[name] for name in parts]
        if group in TRANSLATED:
            macro = macro_of(members[0][0].task.metric, [together(outcomes) for _, outcomes in members])
        else:
            macro = mean_of([estimates[name] for name in parts], most)
        tasks[group] = _group(group, members, macro, list(parts))
        tasks[group]["missing"] = list(lacking.get(group, ()))
        estimates[group] = macro
        within = any(set(parts) < set(others) for others in groups.values())
        if not no_skill & set(parts) and not within:
            standing[group] = macro
    measured = {
        name: Measured(estimate, metrics.get(name, {}), tasks[name].get("references", {}))
        for name, estimate in estimates.items()
    }
    return {
        "tasks": tasks,
        "categories": _categories(tasks, standing),
        "suites": {name: _suite(suite, measured) for name, suite in suites.items()},
    }


def shown(estimate: Estimate, metric: str) -> dict[str, Any]:
    """Returns value, interval and standard error, bits as they are and scores from 0 to 100, to a millionth."""
    scale, (low, high) = 1 if metric in AS_THEY_ARE else 100, estimate.interval
    error = None if math.isnan(estimate.error) else round(scale * estimate.error, 6)
    interval = [round(scale * low, 6), round(scale * high, 6)]
    return {"value": round(scale * estimate.value, 6), "interval": interval, "error": error}


def _estimate(loaded: Loaded, outcomes: Sequence[Outcome]) -> Estimate:
    return _estimate_all(loaded.task.name, [(loaded, outcomes)])


def _estimate_all(group: str, parts: Sequence[Part]) -> Estimate:
    """Returns the mean over the examples of several tasks with the same metric; of texts, bits over all bytes."""
    everything = [(loaded.task, outcome) for loaded, outcomes in parts for outcome in together(outcomes)]
    clusters = [cluster_in(group, task.name, outcome) for task, outcome in everything]
    return estimate_of(everything[0][0].metric, [outcome for _, outcome in everything], clusters)


def _metrics(loaded: Loaded, outcomes: Sequence[Outcome], own: Estimate) -> dict[str, Estimate]:
    """Returns the metrics of a task that have an error, besides bits."""
    joined = together(outcomes)
    names = dict.fromkeys(name for outcome in joined for name in outcome.scores if name != BITS)
    clusters = [outcome.cluster for outcome in joined]
    found = {name: estimate_of(name, joined, clusters) for name in names}
    return found | (loaded.task.estimates(outcomes, own) if loaded.task.estimates else {})


def _task(
    loaded: Loaded, outcomes: Sequence[Outcome], own: Estimate, metrics: Mapping[str, Estimate]
) -> dict[str, Any]:
    task, joined = loaded.task, together(outcomes)
    values = {name: each.value for name, each in metrics.items()} | (task.figures(outcomes) if task.figures else {})
    return {
        "metric": task.metric,
        **_direction(task.metric),
        **shown(own, task.metric),
        **_counts([(loaded, outcomes)]),
        "metrics": {name: round(value if name in AS_THEY_ARE else 100 * value, 6) for name, value in values.items()},
        **({"signature": task.signature()} if task.signature else {}),
        **_bias(metrics),
        **({"references": dict(loaded.references)} if loaded.references else {}),
        "normalization": task.normalization if outcomes[0].options else None,
        **_kinds(task.metric, joined),
        "bits_per_byte": None if task.metric in NEUTRAL else _bits_per_byte(outcomes),
        "category": task.category,
        "files": list(loaded.files),
    }


def _direction(metric: str) -> dict[str, Any]:
    """Returns whether higher is better, and of a score of bias what a model without it scores."""
    return {
        "higher_is_better": higher_is_better(metric),
        **({"neutral": 100 * NEUTRAL[metric]} if metric in NEUTRAL else {}),
    }


def _bias(metrics: Mapping[str, Estimate]) -> dict[str, Any]:
    """Returns {"bias": …} with each score of bias and what is neutral, or nothing if the task has none."""
    found = {name: {**shown(each, name), **_direction(name)} for name, each in metrics.items() if name in NEUTRAL}
    return {"bias": found} if found else {}


def _kinds(metric: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Returns {"kinds": …} with the score of each kind of example, or nothing if there are no kinds."""
    of_each: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        of_each.setdefault(outcome.kind, []).append(outcome)
    if set(of_each) == {""}:
        return {}
    return {
        "kinds": {
            kind: {**shown(estimate_of(metric, own, [outcome.cluster for outcome in own]), metric), "count": len(own)}
            for kind, own in sorted(of_each.items())
        }
    }


def _suite(suite: Suite, measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Returns the figures of a suite, the tasks that they are over, and those whose files were missing."""
    there = {name: measured[name] for name in suite.shots if name in measured}
    means = {name: mean_of(of, least=suite.least) for name, of in suite.means(there).items() if of}
    rated = [each.references for each in there.values() if each.references]
    known = [name for name in (rated[0] if rated else ()) if all(name in of for of in rated)]
    references = {name: float(np.mean([of[name] for of in rated])) for name in known}
    return {
        "figures": {name: shown(mean, "") for name, mean in means.items()},
        **({"references": references, "rated": len(rated)} if rated else {}),
        "tasks": list(there),
        "missing": [name for name in suite.shots if name not in there],
    }


def _group(name: str, parts: Sequence[Part], macro: Estimate, names: list[str]) -> dict[str, Any]:
    task = parts[0][0].task
    return {
        "metric": task.metric,
        **_direction(task.metric),
        **shown(_estimate_all(name, parts), task.metric),
        **_counts(parts),
        "macro": shown(macro, task.metric),
        "category": task.category,
        "parts": names,
    }


def _counts(parts: Sequence[Part]) -> dict[str, Any]:
    """Returns how many examples there are, of how many something must be known, and what guessing would score."""
    joined = [outcome for _, outcomes in parts for outcome in together(outcomes)]
    most = max(outcome.options for _, outcomes in parts for outcome in outcomes)
    always = [_mean(parts, partial(_at, place)) for place in range(most)]
    return {
        "count": len(joined),
        "truncated": sum(outcome.truncated for outcome in joined),
        "unparsed": sum(outcome.unparsed for outcome in joined),
        "ties": sum(outcome.tie for outcome in joined),
        "spanning": sum(outcome.spans for outcome in joined),
        "chance": _mean(parts, lambda worth: sum(worth) / max(1, len(worth))),
        "majority": max(always, default=0.0),
    }


def _bits_per_byte(outcomes: Sequence[Outcome]) -> float | None:
    """Returns the information in the right options or answers by their bytes; None if it was not measured.

    It tells small models apart before scores do.
    """
    size = sum(outcome.size for outcome in outcomes)
    return round(sum(outcome.bits for outcome in outcomes) / size, 6) if size else None


def _worth(metric: str, outcome: Outcome) -> tuple[float, ...]:
    """Returns what each option scores by a metric; nothing by a metric that does not choose among them."""
    if metric in AS_THEY_ARE:
        return ()
    right = tuple(float(place in outcome.gold) for place in range(outcome.options))
    return outcome.credits.get(metric, right)


def _at(place: int, worth: tuple[float, ...]) -> float:
    return worth[place] if place < len(worth) else 0.0


def _mean(parts: Sequence[Part], score: Callable[[tuple[float, ...]], float]) -> float:
    """Returns the mean score over all examples, 0 to 100, if each had another one, made from what its options score."""
    changed = [
        [outcome._replace(scores={"": score(_worth(loaded.task.metric, outcome))}) for outcome in outcomes]
        for loaded, outcomes in parts
    ]
    return round(100 * float(np.mean([each.scores[""] for outcomes in changed for each in together(outcomes)])), 6)


def _categories(tasks: Mapping[str, Any], standing: Mapping[str, Estimate]) -> dict[str, Any]:
    """Returns the mean of each category over its tasks; a group counts as one, with its macro mean."""
    members: dict[str, list[str]] = {}
    for name in standing:
        members.setdefault(tasks[name]["category"], []).append(name)
    means = {
        category: mean_of([standing[name] for name in names], sets=[set_of(tasks, name) for name in names])
        for category, names in members.items()
    }
    return {category: {**shown(mean, ""), "tasks": members[category]} for category, mean in means.items()}


def set_of(tasks: Mapping[str, Any], name: str) -> Hashable:
    """Returns what a task or group is on: its files of tests, which other forms of it read too, or texts by their set.

    tasks: the results of all.
    """
    for prefix in _LANGUAGES:
        if name.startswith(prefix):
            return prefix
    return frozenset(tasks[part]["files"][0] for part in tasks[name].get("parts", (name,)))
