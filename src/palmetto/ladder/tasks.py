"""Combines evaluations of models of several sizes: finds scores that jump, and predicts that of a model to come."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from palmetto.errors import UserError
from palmetto.evaluation.evaluating import RESULTS
from palmetto.evaluation.settings import SETTINGS, run_of
from palmetto.evaluation.tasks.task import AS_THEY_ARE
from palmetto.files import read_json
from palmetto.ladder.plan import Cost, cost_of
from palmetto.recipe import Recipe
from palmetto.report.curves import compact
from palmetto.scaling import accuracy, intervals, laws
from palmetto.scaling.discontinuity import Scored, discontinuities
from palmetto.scaling.intervals import Fit
from palmetto.scaling.minimizing import Floats

_ALIKE = ("shots", "limit", "beams", "samples", "seed", "weights")
"""The settings that all evaluations of a series must share."""


class Evaluated(NamedTuple):
    """Holds an evaluation and the cost of its model's training."""

    folder: Path
    cost: Cost
    tasks: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any] = {}
    """Holds what the evaluation was asked for, and the digests of the files that it read."""


def read(folder: Path) -> Evaluated:
    """Returns an evaluation. Raises UserError if there is none, or if its model was not trained here."""
    if not (folder / RESULTS).is_file():
        raise UserError(f"{folder}: no finished evaluation; `palmetto eval … --out {folder}` writes one")
    run, step, _ = run_of(folder)
    recipe = run.recipe
    if not step:
        raise UserError(f"{folder}: {run.path} has taken no step, so that its tokens are not known")
    taken = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": step})})
    return Evaluated(folder, cost_of(taken), read_json(folder / RESULTS)["tasks"], read_json(folder / SETTINGS))


def summarize(evaluated: Sequence[Evaluated], predict: Recipe | None) -> dict[str, Any]:
    """Returns {"models", "tasks"} as plain values, for the tasks that all evaluations have.

    predict: a recipe whose scores are predicted. Raises UserError if the evaluations share no task, or were asked for
    otherwise.
    """
    first, *others = evaluated
    shared = [name for name in first.tasks if all(name in each.tasks for each in others)]
    if not shared:
        raise UserError(f"{first.folder}: no task that {', '.join(str(each.folder) for each in others)} has too")
    for other in others:
        _check_alike(first, other)
    target = None if predict is None else cost_of(predict)
    models = [{"folder": str(each.folder), **each.cost._asdict()} for each in evaluated]
    return {
        "models": models,
        "predict": None if predict is None or target is None else {"recipe": predict.name, **target._asdict()},
        "tasks": {name: _task(name, evaluated, target) for name in shared},
    }


def _check_alike(first: Evaluated, other: Evaluated) -> None:
    """Raises UserError if two evaluations have other settings or saw other data, so that their scores are no series."""
    for key in _ALIKE:
        ours, theirs = (each.settings.get(key) for each in (first, other))
        if ours != theirs:
            raise UserError(f"{other.folder}: {key}={theirs}, and {first.folder} has {ours}; expected the same")
    ours, theirs = (each.settings.get("data", {}) for each in (first, other))
    for path in ours.keys() & theirs.keys():
        if ours[path] != theirs[path]:
            raise UserError(f"{other.folder}: {path} was another file than in {first.folder}; expected the same data")


def _task(name: str, evaluated: Sequence[Evaluated], target: Cost | None) -> dict[str, Any]:
    """Returns what the evaluations say of a task. Scores and their errors are from 0 to 100, losses in bits a byte."""
    found = [each.tasks[name] for each in evaluated]
    losses = [task.get("bits_per_byte") for task in found]
    return {
        "metric": found[0]["metric"],
        "scores": [task["value"] for task in found],
        "losses": losses,
        "chance": found[0]["chance"],
        "discontinuities": _or_why(lambda: _jumps(found, evaluated)),
        "two_steps": _or_why(lambda: _two_steps(found, losses, evaluated, target)),
    }


def _or_why(find: Callable[[], Any]) -> Any:
    try:
        return find()
    except UserError as error:
        return {"missing": str(error)}


def _jumps(found: Sequence[Mapping[str, Any]], evaluated: Sequence[Evaluated]) -> list[dict[str, float]]:
    _check_skill(found[0])
    models = [
        Scored(each.cost.parameters, task["value"], task["error"] or 0.0)
        for task, each in zip(found, evaluated, strict=True)
    ]
    return [jump._asdict() for jump in discontinuities(models)]


def _check_skill(task: Mapping[str, Any]) -> None:
    """Raises UserError unless a task measures a skill, which grows with the model."""
    if task["metric"] in AS_THEY_ARE:
        raise UserError("bits a byte are a loss, and so are log-likelihoods; expected a score")
    if not task.get("higher_is_better", True):
        raise UserError(f"{task['metric']} is no skill; expected a score of which higher is better")


def _two_steps(
    found: Sequence[Mapping[str, Any]],
    losses: Sequence[float | None],
    evaluated: Sequence[Evaluated],
    target: Cost | None,
) -> dict[str, Any]:
    """Returns the law of the task's loss, the curve of its score by that loss, and what they predict of the target."""
    known = [loss for loss in losses if loss]
    _check_skill(found[0])
    if len(known) < len(losses):
        raise UserError("expected a task whose right options or answers have a loss")
    by, points, fit = _law(evaluated, np.array(known))
    scores = np.array([task["value"] for task in found]) / 100
    curve = accuracy.fit(np.array(known), scores, found[0]["chance"] / 100)
    constants = {name: float(value) for name, value in curve.curve._asdict().items()}
    values: dict[str, Any] = {"by": by, "curve": constants, "noise": curve.noise}
    if target is not None:
        x = points(target)
        loss, loss_within = fit.predict(x)
        score, within = curve.predict(fit, x)
        values |= {
            "loss": loss,
            "loss_interval": loss_within,
            "predicted": 100 * score,
            "interval": within and [100 * bound for bound in within],
        }
    return values


def _law(evaluated: Sequence[Evaluated], losses: Floats) -> tuple[str, Callable[[Cost], Floats], Fit]:
    """Returns the law of a task's loss by parameters and tokens, or by compute if these do not determine one."""

    def both(cost: Cost) -> Floats:
        return np.array([cost.parameters, cost.tokens], float)

    def compute(cost: Cost) -> Floats:
        return np.array([cost.flops])

    x = np.array([both(each.cost) for each in evaluated])
    try:
        laws.check(x, "loss over parameters and tokens")
    except UserError:
        x = np.array([compute(each.cost) for each in evaluated])
        laws.check(x, "loss over compute")
        return "compute", compute, intervals.fit(x, losses)
    return "parameters and tokens", both, intervals.fit(x, losses)


def describe(values: Mapping[str, Any]) -> str:
    """Returns the values of `summarize` as lines of text."""
    lines = [
        f"{model['folder']}: {model['parameters']:,} parameters, {compact(model['tokens'])} tokens"
        for model in values["models"]
    ]
    for name, task in values["tasks"].items():
        lines += ["", f"{name} ({task['metric']}): {', '.join(f'{score:.2f}' for score in task['scores'])}"]
        lines += [f"  {line}" for line in (*_told_jumps(task["discontinuities"]), _told_steps(task["two_steps"]))]
    return "\n".join(lines)


def _told_jumps(jumps: Any) -> list[str]:
    if "missing" in jumps:
        return [f"discontinuity: {jumps['missing']}"]
    return [
        f"discontinuity at {compact(jump['size'])} parameters: {jump['difference']:+.2f} ± {jump['error']:.2f} against "
        f"{jump['projected']:.2f} projected"
        for jump in jumps
    ]


def _told_steps(steps: Mapping[str, Any]) -> str:
    if "missing" in steps:
        return f"two steps: {steps['missing']}"
    text = f"two steps: loss by {steps['by']}, then score"
    if "predicted" not in steps:
        return text
    within = steps["interval"] and " ({:.2f} to {:.2f})".format(*steps["interval"])
    return f"{text}; predicted {steps['predicted']:.2f}{within or ''} at {steps['loss']:.4f} bits a byte"
