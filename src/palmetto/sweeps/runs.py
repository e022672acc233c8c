"""Trains the points of a sweep, each in a process of its own.

Each point has its own process because XLA's thread pool, on which bits depend, is fixed when JAX is imported. A sweep
that was stopped can be started again: it skips finished runs and resumes the others from their checkpoints.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from palmetto.corpus import documents
from palmetto.errors import RunStopped, UserError
from palmetto.files import temporary_folder, write_json, write_text
from palmetto.host import environment, signals
from palmetto.recipe import Recipe, loading
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_texts
from palmetto.sweeps import page as report
from palmetto.sweeps import results
from palmetto.sweeps.plan import Plan, Point
from palmetto.training import condition
from palmetto.training.report import record
from palmetto.training.report.record import Validations

Say = Callable[[str], None]

LOG = "sweep-log.txt"
"""The file in a run directory that holds the output of the point's process."""


def run(planned: Plan, say: Say) -> results.Sweep:
    """Trains the points that are not finished, and writes the results after each.

    A failed point is recorded, and the next one begins. A stopping signal ends the point in training, which writes a
    checkpoint, and then raises RunStopped.
    """
    child = _child_environment(planned.out)
    with RunDirectory(planned.out).locked(), signals.handled_by(_interrupt):
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
                raise RunStopped(f"interrupted at {where}; the same command resumes") from None
        found = _results(planned, choices, reasons)
        report.write(found, planned.out)
    return found


class _Clock:
    """Estimates the remaining time from the seconds that a FLOP has taken so far."""

    def __init__(self) -> None:
        self._begun, self._done = time.monotonic(), 0.0

    def count(self, flops: float) -> None:
        self._done += flops

    def left(self, flops: float) -> str:
        """Returns the time for the remaining FLOPs in words, or an empty string before the first point is done."""
        if not self._done:
            return ""
        minutes = (time.monotonic() - self._begun) / self._done * flops / 60
        return f"about {minutes / 60:.1f} h left; " if minutes > 90 else f"about {minutes:.1f} min left; "


def _train(point: Point, points: list[Point], child: dict[str, str]) -> str:
    """Trains a point in a process of its own; returns why that failed, or an empty string.

    Raises UserError if another process works in its directory, such as the child of a killed sweep.
    """
    with point.run.locked():
        point.run.check(point.recipe)
        _borrow(point, points)
    with temporary_folder() as folder:
        recipe = folder / "recipe.yaml"  # the run's own recipe is written after it has passed every check
        write_text(recipe, loading.dump(point.recipe))
        return _trained(point, recipe, child)


def _trained(point: Point, recipe: Path, child: dict[str, str]) -> str:
    """Trains a point with the recipe in a file; returns why that failed, or an empty string."""
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
    """Takes vocabulary and tokens from a point that has made the same ones, so that no text is read twice."""
    for stage, inputs in (("vocabulary", _vocabulary_inputs), ("tokens", _token_inputs)):
        for other in points:
            made = other.run.path != point.run.path and (other.run.stamps / f"{stage}.json").exists()
            if made and inputs(other.recipe) == inputs(point.recipe):
                stamps.adopt(point.run, other.run, stage)
                break


def _vocabulary_inputs(recipe: Recipe) -> tuple[object, ...]:
    corpus, tokens = recipe.corpus, recipe.tokens
    return corpus.source, corpus.section_bytes, tokens.vocabulary, tokens.vocabulary_size


def _token_inputs(recipe: Recipe) -> tuple[object, ...]:
    return recipe.corpus, recipe.tokens, recipe.training.seed


def _child_environment(out: Path) -> dict[str, str]:
    """Returns this process's environment with a cache of compiled programs, which the seeds of a choice share.

    It must be called before this process is prepared for JAX.
    """
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str((out / ".compiled").absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    return cache | os.environ


def _check_text(planned: Plan) -> None:
    """Raises UserError if a text has changed since the sweep began, since its points could not be compared."""
    file = planned.out / "text.json"
    recorded = read_texts(file) or {}
    sources = {str(point.recipe.corpus.source) for point in planned.points}
    here = {source: documents.fingerprint(source) for source in sorted(sources)}
    for source, fingerprint in here.items():
        if recorded.get(source, fingerprint) != fingerprint:
            raise UserError(
                f"{planned.out} is a sweep of other text than {source} holds now; give another directory with --out"
            )
    write_json(file, recorded | here)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt for every stopping signal, and for SIGINT even in a shell's background job."""
    raise KeyboardInterrupt


# Results


def _choice(chosen: tuple[tuple[str, ...], tuple[str, ...]], counts: dict[str, Any]) -> results.Choice:
    """Returns a choice. chosen: its labels and overrides. counts: the summary of its recipe."""
    parameters = counts["parameters"]
    return results.Choice(*chosen, parameters["total"], parameters["active"], counts["flops_per_token"])


def _results(planned: Plan, choices: tuple[results.Choice, ...], reasons: dict[Path, str]) -> results.Sweep:
    """Returns the present results. reasons: why runs failed, by directory."""
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
    except UserError as error:  # a damaged run counts as a failed point
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
