"""Plans a sweep: small models over all combinations of choices and seeds, each an ordinary run."""

import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from palmetto.errors import UserError
from palmetto.recipe import Recipe, loading
from palmetto.runs.directory import RunDirectory
from palmetto.sweeps import children
from palmetto.sweeps.axes import SEED, parse_axis
from palmetto.sweeps.children import Member

_MOST_POINTS = 10_000
"""The most points of a sweep. The recipes of all points are resolved before the first is trained."""


class Point(NamedTuple):
    """Holds a model to train."""

    choice: int
    """The index of its choice."""
    seed: int
    recipe: Recipe
    run: RunDirectory


class Plan(NamedTuple):
    """Holds the plan of a sweep."""

    axes: tuple[str, ...]
    """The axes that vary."""
    fixed: tuple[str, ...]
    """The overrides of the other axes."""
    recipe: str
    """The recipe's name."""
    choices: list[tuple[tuple[str, ...], tuple[str, ...]]]
    """The labels on the axes that vary, and the overrides, of each combination."""
    points: list[Point]
    """The points, seed by seed, so that all choices can soon be compared."""
    out: Path

    def name(self, point: Point) -> str:
        """Returns the name of a point in messages."""
        return f"{_joined(self.axes, self.choices[point.choice][0], ' ')} seed {point.seed}"

    def member(self, point: Point) -> Member:
        """Returns a point as one of the runs that are trained."""
        return Member(self.name(point), point.recipe, point.run)


def plan(recipe: str, axes: Sequence[str], seeds: int, source: str | None, out: Path | None) -> Plan:
    """Returns the plan of a sweep, with every recipe checked.

    Raises UserError at the first recipe that is invalid or equal to another, or whose directory holds another run.
    """
    parsed = [parse_axis(axis) for axis in axes]
    for axis in parsed:
        if sum(axis.name == other.name for other in parsed) > 1:
            raise UserError(f"{axis.name}: given twice; an axis takes all its values at once, separated by commas")
    varying = [axis for axis in parsed if len(axis.choices) > 1]
    fixed = [o for axis in parsed if len(axis.choices) == 1 for overrides in axis.choices.values() for o in overrides]
    if source is not None:
        fixed.insert(0, loading.override("corpus.source", source))
    names = tuple(axis.name for axis in varying)
    count = math.prod([seeds, *(len(axis.choices) for axis in varying)])
    if count > _MOST_POINTS:
        sizes = " times ".join([*(f"{len(axis.choices):,} of {axis.name}" for axis in varying), f"{seeds:,} seeds"])
        would_do = "several sweeps of fewer values would do, or fewer --seeds"
        raise UserError(f"a sweep of {sizes} has {count:,} runs: expected at most {_MOST_POINTS:,}; {would_do}")
    choices = [
        (tuple(label for label, _ in combination), tuple(o for _, overrides in combination for o in overrides))
        for combination in itertools.product(*(axis.choices.items() for axis in varying))
    ]
    loaded = [
        [loading.load(recipe, [*fixed, *overrides, f"{SEED}={seed}"]) for seed in range(seeds)]
        for _, overrides in choices
    ]
    if loaded[0][0].corpus.source is None:
        raise UserError(f"{recipe} names no text: give --source PATH, or corpus.source in the recipe")
    name = loaded[0][0].name
    if not names:
        choices = [((name,), ())]
    seen: dict[str, str] = {}
    for (labels, _), found in zip(choices, loaded, strict=True):
        label = _joined(names, labels, " ")
        if (twin := seen.setdefault(found[0].digest, label)) != label:
            raise UserError(f"{label}: the same run as {twin}; expected choices that differ in what is trained")
    out = children.directory(out, name, "sweep", {each.corpus.source for found in loaded for each in found})
    points = []
    for seed in range(seeds):
        for number, (labels, _) in enumerate(choices):
            folder = file_name(_joined(names, labels, ","))
            chosen = loaded[number][seed]
            if names:
                chosen = chosen.model_copy(update={"name": f"{name}: {_joined(names, labels, ' ')}"})
            points.append(Point(number, seed, chosen, RunDirectory(out / folder / f"seed-{seed}")))
    planned = Plan(names, tuple(fixed), name, choices, points, out)
    for point in points:
        children.check(planned.member(point))
    return planned


def _joined(axes: tuple[str, ...], labels: tuple[str, ...], separator: str) -> str:
    """Joins axis=label for all axes. Without axes there is only one label, the recipe's name."""
    return separator.join(map("=".join, zip(axes, labels, strict=True))) if axes else labels[0]


def file_name(text: str) -> str:
    """Returns a folder name that is unique to a text: the text itself if possible."""
    safe = re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", text)[:120]
    return safe if safe == text else f"{safe}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"
