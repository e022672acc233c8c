"""Sweeps: small models over all combinations of choices and seeds, each an ordinary run in a process of its own.

A process each, because what bits depend on (XLA's thread pool) is fixed when JAX is imported. What a killed sweep has
finished is not done again: runs that are whole are passed over, the others go on from their checkpoints.
"""

import hashlib
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from palmetto.corpus import documents
from palmetto.errors import RunStopped, UserError
from palmetto.files import write_json, write_text
from palmetto.host import environment, signals
from palmetto.recipe import Recipe, loading, sense
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_texts
from palmetto.sweeps import page as report
from palmetto.sweeps import results
from palmetto.sweeps.axes import SEED, parse_axis
from palmetto.training import condition
from palmetto.training.report import record
from palmetto.training.report.record import Validations

Say = Callable[[str], None]

LOG = "sweep-log.txt"
"""What a point's process printed, in its run directory."""


_MOST_POINTS = 10_000
"""A recipe is resolved for each before the first is trained."""


class Point(NamedTuple):
    """A model to train: which choice, which seed, and the run that it makes."""

    choice: int
    seed: int
    recipe: Recipe
    run: RunDirectory

    @property
    def finished(self) -> bool:
        """Whether the run holds every step."""
        summary = condition.summary(self.run)
        return summary is not None and summary["steps"] == self.recipe.training.steps


class Plan(NamedTuple):
    """What a sweep is to do. Points are seed by seed, so that comparisons are whole early."""

    axes: tuple[str, ...]
    """Those that vary."""
    fixed: tuple[str, ...]
    """The overrides of those that don't."""
    recipe: str
    """The recipe's name."""
    choices: list[tuple[tuple[str, ...], tuple[str, ...]]]
    """The labels on the axes that vary, and the overrides, of each combination."""
    points: list[Point]
    out: Path

    def name(self, point: Point) -> str:
        """What a point is called."""
        return f"{_joined(self.axes, self.choices[point.choice][0], ' ')} seed {point.seed}"


# Points


def plan(recipe: str, axes: Sequence[str], seeds: int, source: str | None, out: Path | None) -> Plan:
    """All points of a sweep, every recipe checked.

    UserError at the first that is none, that is another's twin, or whose directory holds another run.
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
    if out is None:
        sense.check_name(name, "--out")
    out = out or Path("sweeps") / name
    sources = {each.corpus.source for found in loaded for each in found} - {documents.PYTHON}
    if any(out.resolve() == Path(str(source)).resolve() for source in sources):
        raise UserError(
            f"--out {out}: the source itself; expected another directory, as in {out}/sweep, which is no part of it"
        )
    points = []
    for seed in range(seeds):
        for number, (labels, _) in enumerate(choices):
            folder = file_name(_joined(names, labels, ","))
            chosen = loaded[number][seed]
            if names:
                chosen = chosen.model_copy(update={"name": f"{name}: {_joined(names, labels, ' ')}"})
            points.append(Point(number, seed, chosen, RunDirectory(out / folder / f"seed-{seed}")))
    for point in points:
        if not point.run.begun:
            sense.check(point.recipe)
        elif differences := point.recipe.obstacles(point.run.recipe):
            raise UserError(f"{point.run.path} holds a run of another recipe: {'; '.join(differences)}. Give the same "
                            "values, or another directory with --out")  # fmt: skip
    return Plan(names, tuple(fixed), name, choices, points, out)


def _joined(axes: tuple[str, ...], labels: tuple[str, ...], separator: str) -> str:
    """axis=label, one after the other; the label alone where there is no axis."""
    return separator.join(map("=".join, zip(axes, labels, strict=True))) if axes else labels[0]


def file_name(text: str) -> str:
    """A name for a folder that stands for a text and no other: the text itself where that can be."""
    safe = re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", text)[:120]
    return safe if safe == text else f"{safe}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


# Running


def run(planned: Plan, say: Say) -> results.Sweep:
    """Trains what is not trained yet, and writes the results after each point.

    A point that fails is recorded and the next one begins. A signal that asks to stop is for the point in training,
    which writes a checkpoint, and then for the sweep: RunStopped.
    """
    child = _child_environment(planned.out)
    with RunDirectory(planned.out).locked(), signals.heard_by(_interrupt):
        environment.prepare(planned.points[0].recipe.training.threads)
        _check_text(planned)
        from palmetto.planning import summary as planning  # imports JAX

        counts = [planning.plan(point.recipe) for point in planned.points[: len(planned.choices)]]
        choices = tuple(_choice(*each) for each in zip(planned.choices, counts, strict=True))
        reasons: dict[Path, str] = {}
        clock = _Clock()
        for number, point in enumerate(planned.points):
            if condition.is_finished(point.run, point.recipe.training.steps):
                continue
            left = sum(counts[p.choice]["flops"] for p in planned.points[number:] if not p.finished)
            where = f"{number + 1} of {len(planned.points)}: {planned.name(point)}"
            say(f"{where} ({clock.left(left)}log: {point.run.path / LOG})")
            try:
                if reason := _train(point, planned.points, child):
                    reasons[point.run.path] = reason
                    say(f"failed: {reason}")
                clock.count(counts[point.choice]["flops"])
                report.write(_results(planned, choices, reasons), planned.out)
            except KeyboardInterrupt:
                raise RunStopped(f"interrupted at {where}; the same command goes on") from None
        found = _results(planned, choices, reasons)
        report.write(found, planned.out)
    return found


class _Clock:
    """How long the rest takes, if a FLOP takes as long as it has so far."""

    def __init__(self) -> None:
        self._begun, self._done = time.monotonic(), 0.0

    def count(self, flops: float) -> None:
        self._done += flops

    def left(self, flops: float) -> str:
        """In words, for so many FLOPs to come; nothing before the first point is done."""
        if not self._done:
            return ""
        minutes = (time.monotonic() - self._begun) / self._done * flops / 60
        return f"about {minutes / 60:.1f} h left; " if minutes > 90 else f"about {minutes:.1f} min left; "


def _train(point: Point, points: list[Point], child: dict[str, str]) -> str:
    """Trains a point in a process of its own; returns why that failed, or nothing.

    UserError if another process works in its directory: the child of a sweep that was killed may do so.
    """
    with point.run.locked():
        point.run.check(point.recipe)
        _borrow(point, points)
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"  # the run's own is written once the run has passed every check
        write_text(recipe, loading.dump(point.recipe))
        return _trained(point, recipe, child)


def _trained(point: Point, recipe: Path, child: dict[str, str]) -> str:
    """Trains a point with the recipe in a file; returns why that failed, or nothing."""
    log = point.run.path / LOG
    program = [sys.executable, "-P", "-c", "from palmetto.cli.app import main; main()"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begun = output.tell()
        process = subprocess.Popen(
            [*program, "train", str(recipe), "--run", str(point.run.path)],
            env=child,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    if code:
        lines = log.read_bytes()[begun:].decode(errors="replace").split("\n")
        said = [line.removeprefix("palmetto: ") for line in lines if line.startswith("palmetto: ")]
        return said[-1] if said else f"exit code {code}"
    return "" if point.finished else f"stopped before step {point.recipe.training.steps}"


def _borrow(point: Point, points: list[Point]) -> None:
    """Takes over vocabulary and tokens from a point that has made the same, so that no text is read twice."""
    for stage, inputs in (("vocabulary", _vocabulary_inputs), ("tokens", _token_inputs)):
        for other in points:
            made = other.run.path != point.run.path and (other.run.stages / f"{stage}.json").exists()
            if made and inputs(other.recipe) == inputs(point.recipe):
                stamps.adopt(point.run, other.run, stage)
                break


def _vocabulary_inputs(recipe: Recipe) -> tuple[object, ...]:
    corpus, tokens = recipe.corpus, recipe.tokens
    return corpus.source, corpus.section_bytes, tokens.vocabulary, tokens.vocabulary_size


def _token_inputs(recipe: Recipe) -> tuple[object, ...]:
    return recipe.corpus, recipe.tokens, recipe.training.seed


def _child_environment(out: Path) -> dict[str, str]:
    """This process's, before it is prepared for JAX, with a place for compiled programs: seeds share theirs."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str((out / ".compiled").absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    return cache | os.environ


def _check_text(planned: Plan) -> None:
    """Refuses texts that have changed since the sweep began: its points could not be compared."""
    file = planned.out / "text.json"
    recorded = read_texts(file) or {}
    sources = {str(point.recipe.corpus.source) for point in planned.points}
    here = {source: documents.fingerprint(source) for source in sorted(sources)}
    for source, fingerprint in here.items():
        if recorded.get(source, fingerprint) != fingerprint:
            raise UserError(f"{planned.out} is a sweep of other text than {source} holds now; give another directory "
                            "with --out")  # fmt: skip
    write_json(file, recorded | here)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, as SIGINT alone does by itself, and not where a shell began this as a job."""
    raise KeyboardInterrupt


# Results


def _choice(chosen: tuple[tuple[str, ...], tuple[str, ...]], counts: dict[str, Any]) -> results.Choice:
    """labels and overrides; counts: what the recipe amounts to."""
    parameters = counts["parameters"]
    return results.Choice(*chosen, parameters["total"], parameters["active"], counts["flops_per_token"])


def _results(planned: Plan, choices: tuple[results.Choice, ...], reasons: dict[Path, str]) -> results.Sweep:
    """The points as they stand. reasons: why runs failed, by directory."""
    firsts = planned.points[: len(planned.choices)]
    counted = {(point.recipe.corpus, point.recipe.tokens) for point in firsts}
    return results.Sweep(
        name=planned.recipe,
        axes=planned.axes,
        fixed=planned.fixed,
        seeds=len(planned.points) // len(choices),
        comparable=len(counted) == 1,
        choices=choices,
        points=tuple(_result(point, planned.out, reasons.get(point.run.path, "")) for point in planned.points),
    )


def _result(point: Point, out: Path, reason: str) -> results.Point:
    run, nothing = point.run, Validations(np.empty(0), np.empty(0))
    found = None
    try:
        found = record.read(run) if run.recipe_file.exists() else None
    except UserError as error:  # a damaged run is one point that failed
        reason = reason or str(error)
    validations, summary = found.validations if found else nothing, condition.summary(run)
    finished = found is not None and point.finished
    if finished and not np.isfinite(validations.loss[-1:]).all():
        finished, reason = False, f"the validation loss is {validations.loss[-1]}"
    return results.Point(
        choice=point.choice,
        seed=point.seed,
        directory=str(run.path.relative_to(out)),
        status="failed" if reason else "done" if finished else "waiting",
        reason=reason,
        steps=found.last_step if found else 0,
        validations=validations,
        digest=summary["digest"]["parameters"] if finished and summary else None,
    )
