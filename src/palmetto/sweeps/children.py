"""Trains several runs, each in a process of its own, for sweeps and ladders.

Each run has its own process because XLA's thread pool, on which bits depend, is fixed when JAX is imported. What was
stopped can be started again: finished runs are skipped, and the others are resumed from their checkpoints.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from palmetto.corpus import documents
from palmetto.errors import RunStopped, UserError
from palmetto.files import names_in, temporary_folder, write_json, write_text
from palmetto.host import environment, signals
from palmetto.recipe import Recipe, loading, sense
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_texts
from palmetto.training import condition

Say = Callable[[str], None]
Variables = dict[str, str]
"""The environment of a child process."""
Failures = dict[Path, str]
"""The reasons why runs failed, in one line each, by directory."""


_TEXTS = "text.json"
"""The file of a directory of runs that says which text they read."""


class Member(NamedTuple):
    """Names one of the runs that are trained."""

    name: str
    """The name in messages."""
    recipe: Recipe
    run: RunDirectory

    @property
    def finished(self) -> bool:
        """Returns whether the run has taken every step."""
        return condition.took(self.run, self.recipe.training.steps)

    @property
    def log(self) -> Path:
        """The file that holds the output of the run's process."""
        return self.run.path / "training-log.txt"


def directory(out: Path | None, name: str, kind: str, sources: Collection[str | None]) -> Path:
    """Returns the directory of several runs, by default KINDs/NAME.

    Raises UserError if the name cannot be a folder's, or if the directory is one of the sources, a run, or holds files
    of something else.
    """
    if out is None:
        sense.check_name(name, "--out")
        out = Path(f"{kind}s") / name
    if any(out.resolve() == Path(str(source)).resolve() for source in {*sources} - {None, documents.PYTHON}):
        raise UserError(
            f"--out {out}: the source itself; expected another directory, as in {out}/{kind}, which is no part of it"
        )
    found = [name for name in names_in(out) if (out / name).is_file() and name != ".lock"] if out.is_dir() else []
    if found and (_TEXTS not in found or RunDirectory(out).recipe_file.exists()):
        raise UserError(
            f"--out {out}: holds {found[0]}, which is no {kind}'s; expected a new directory, as in {out}/{kind}"
        )
    return out


def check(member: Member) -> None:
    """Raises UserError if a run makes no sense, or if its directory holds a run of another recipe."""
    if not member.run.begun:
        sense.check(member.recipe)
    elif differences := member.recipe.obstacles(member.run.recipe):
        raise UserError(
            f"{member.run.path} holds a run of another recipe: {'; '.join(differences)}. Give the same "
            "values, or another directory with --out"
        )


@contextlib.contextmanager
def opened(members: Sequence[Member], out: Path) -> Iterator[None]:
    """Locks a directory of runs and prepares this process for JAX; a stopping signal raises KeyboardInterrupt within.

    Raises UserError if the text has changed since the runs began.
    """
    with RunDirectory(out).locked(), signals.handled_by(_interrupt):
        environment.prepare(members[0].recipe.training.threads)
        check_text(members, out)
        yield


def train_all(
    members: Sequence[Member],
    flops: Sequence[float],
    child: Variables,
    say: Say,
    record: Callable[[Failures], None],
) -> None:
    """Trains the runs that are not finished, and calls `record` with the failures so far after each, and at the end.

    A failed run is recorded, and the next one begins. A stopping signal ends the run in training, which writes a
    checkpoint, and then raises RunStopped. flops: what each run takes, for the time that is left.
    """
    failures: Failures = {}
    clock = _Clock()
    for number, (member, takes) in enumerate(zip(members, flops, strict=True)):
        if condition.is_finished(member.run, member.recipe.training.steps):
            continue
        waiting = zip(members[number:], flops[number:], strict=True)
        left = sum(one for other, one in waiting if not other.finished)
        where = f"{number + 1} of {len(members)}: {member.name}"
        say(f"{where} ({clock.left(left)}log: {member.log})")
        try:
            if reason := train(member, members, child):
                failures[member.run.path] = reason
                say(f"failed: {reason}")
            clock.count(takes)
            record(failures)
        except KeyboardInterrupt:
            raise RunStopped(f"interrupted at {where}; the same command resumes") from None
    record(failures)


class _Clock:
    """Estimates the remaining time from the seconds that a FLOP has taken so far."""

    def __init__(self) -> None:
        self._begun, self._done = time.monotonic(), 0.0

    def count(self, flops: float) -> None:
        self._done += flops

    def left(self, flops: float) -> str:
        """Returns the time for the remaining FLOPs in words, or an empty string before the first run is done."""
        if not self._done:
            return ""
        minutes = (time.monotonic() - self._begun) / self._done * flops / 60
        return f"about {minutes / 60:.1f} h left; " if minutes > 90 else f"about {minutes:.1f} min left; "


def train(member: Member, members: Sequence[Member], child: Variables) -> str:
    """Trains a run in a process of its own; returns why that failed, or an empty string.

    Raises UserError if another process works in its directory, such as the child of a killed sweep.
    """
    with member.run.locked():
        member.run.check(member.recipe)
        borrow(member, members)
    with temporary_folder() as folder:
        recipe = folder / "recipe.yaml"  # the run's own recipe is written after it has passed every check
        write_text(recipe, loading.dump(member.recipe))
        return _trained(member, recipe, child)


def _trained(member: Member, recipe: Path, child: Variables) -> str:
    """Trains a run with the recipe in a file; returns why that failed, or an empty string."""
    program = [sys.executable, "-P", "-c", "from palmetto.cli.app import main; main()"]
    member.log.parent.mkdir(parents=True, exist_ok=True)
    with member.log.open("ab") as output:
        begun = output.tell()
        process = subprocess.Popen(
            [*program, "train", str(recipe), "--run", str(member.run.path)],
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
        lines = member.log.read_bytes()[begun:].decode(errors="replace").split("\n")
        said = [line.removeprefix("palmetto: ") for line in lines if line.startswith("palmetto: ")]
        return said[-1] if said else f"exit code {code}"
    return "" if member.finished else f"stopped before step {member.recipe.training.steps}"


def borrow(member: Member, members: Sequence[Member]) -> None:
    """Takes vocabulary and tokens from a run that has made the same ones, so that no text is read twice."""
    for stage, inputs in (("vocabulary", _vocabulary_inputs), ("tokens", _token_inputs)):
        for other in members:
            made = other.run.path != member.run.path and (other.run.stamps / f"{stage}.json").exists()
            if made and inputs(other.recipe) == inputs(member.recipe):
                stamps.adopt(member.run, other.run, stage)
                break


def _vocabulary_inputs(recipe: Recipe) -> tuple[object, ...]:
    corpus, tokens = recipe.corpus, recipe.tokens
    return corpus.source, corpus.section_bytes, tokens.vocabulary, tokens.vocabulary_size


def _token_inputs(recipe: Recipe) -> tuple[object, ...]:
    return recipe.corpus, recipe.tokens, recipe.training.seed


def child_environment(out: Path) -> Variables:
    """Returns this process's environment with a cache of compiled programs, which runs of one shape share.

    It must be called before this process is prepared for JAX.
    """
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str((out / ".compiled").absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    return cache | os.environ


def check_text(members: Sequence[Member], out: Path) -> None:
    """Raises UserError if a text has changed since the runs began, since they could not be compared."""
    file = out / _TEXTS
    recorded = read_texts(file) or {}
    sources = {str(member.recipe.corpus.source) for member in members}
    here = {source: documents.fingerprint(source) for source in sorted(sources)}
    for source, fingerprint in here.items():
        if recorded.get(source, fingerprint) != fingerprint:
            raise UserError(
                f"{out} holds runs on other text than {source} holds now; give another directory with --out"
            )
    write_json(file, recorded | here)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt for every stopping signal, and for SIGINT even in a shell's background job."""
    raise KeyboardInterrupt
