"""Recovery finds the state that a run goes on from, and keeps the checkpoints that this may need."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from palmetto.errors import UserError
from palmetto.files import present
from palmetto.host import environment
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment, read_events, read_summary
from palmetto.runs.manifest import CheckpointDamaged, Manifest
from palmetto.training.checkpoint import Checkpoints, aside_name
from palmetto.training.ledger import Ledger
from palmetto.training.retention import retained
from palmetto.training.spikes import History
from palmetto.training.step.execution import Execution
from palmetto.training.step.state import State


class Tell(Protocol):
    """Writes an event to the log."""

    def __call__(self, event: str, text: str, **fields: object) -> None: ...


class Recovery:
    """The checkpoints of a run in the light of its ledger."""

    def __init__(
        self,
        run: RunDirectory,
        recipe: Recipe,
        execution: Execution,
        checkpoints: Checkpoints,
        ledger: Ledger,
        tell: Tell,
    ) -> None:
        self._run, self._recipe, self._execution, self._tell = run, recipe, execution, tell
        self._checkpoints, self._ledger = checkpoints, ledger

    def restore(self, history: History, latest: int) -> tuple[State, int]:
        """The state of the newest sound checkpoint of the live path up to step `latest`, and its step; at step 0 it is
        the initialization.

        A damaged checkpoint is set aside. UserError where one is missing, or one that is there is not of this run.
        """
        while base := self._newest(history, latest):
            try:
                return self._checkpoints.restore(base, self._execution.shapes()), base
            except CheckpointDamaged as error:
                self._set_aside(base, str(error))
        return self._execution.initial_state(), 0

    def _newest(self, history: History, latest: int) -> int:
        base = next((step for step in reversed(self._checkpoints.steps()) if self._is_sound(step, history, latest)), 0)
        self._miss(history, base, latest)
        return base

    def _is_sound(self, step: int, history: History, latest: int) -> bool:
        """Returns whether a run can go on from here. Only the files of a checkpoint that would be used are read."""
        try:
            manifest = self._checkpoints.sealed(step)
            self._check_belongs(manifest)
            if step > latest or not history.is_live(manifest.attempt, step):
                return False
            self._checkpoints.manifest(step)
        except CheckpointDamaged as error:
            self._set_aside(step, str(error))
            return False
        return True

    def _check_belongs(self, manifest: Manifest) -> None:
        folder = self._folder(manifest.step)
        what = None if self._recipe.continues(manifest.recipe) else "recipe"
        what = what or (None if manifest.tokens == self._execution.store.checksum else "tokens")
        if what:
            raise UserError(
                f"{folder}: a checkpoint of other {what} than this run's; give another directory with --run"
            )
        if not self._ledger.has(manifest.attempt, manifest.step, manifest.chain):
            raise self._without_line(manifest.step)

    def _set_aside(self, step: int, why: str) -> None:
        aside = self._checkpoints.set_aside(step)
        self._tell(
            "damaged checkpoint", f"{why}; set aside as {aside.name}, the one before it is used", checkpoint=step
        )

    # Checkpoints that cannot be seen

    def _miss(self, history: History, base: int, latest: int) -> None:
        """UserError where checkpoints of the live path behind `base` are on record, and neither there nor set aside.

        To go on from `base` would cut the ledger to it, and what was trained behind it could not be gone on with when
        they are back.
        """
        lost = []
        for step, attempt, chain in self._on_record(history):
            if chain is not None and not self._ledger.has(attempt, step, chain):
                raise self._without_line(step)
            if step < base:
                self._tell(
                    "missing checkpoint", f"{self._folder(step)}: missing; it is not needed now", checkpoint=step
                )
            elif step > latest or not history.is_live(attempt, step):
                continue
            elif self._checkpoints.lost_its_manifest(step):
                self._set_aside(step, f"{self._folder(step)}/manifest.json: missing")
            else:
                lost.append(step)
        if lost:
            names = " ".join(str(self._checkpoints.path / aside_name(step)) for step in lost)
            there = f"checkpoint {base}" if base else "step 0"
            raise UserError(
                f"{self._folder(lost[-1])}: missing, where the ledger says that the run has been; bring back what held "
                f"{'it' if len(lost) == 1 else f'it and {len(lost) - 1} more'} (is a disk not mounted?), or, if that "
                f"is lost for good, have the run go on from {there} by: mkdir -p {names}"
            )

    def _on_record(self, history: History) -> Iterator[tuple[int, int, str | None]]:
        """(step, attempt, chain) of each that is missing, ascending."""
        if self._checkpoints.register.read() is not None:
            yield from self._checkpoints.missing()
            return
        # A run from before there was a record: what else tells of checkpoints. Later ones have replaced what is pruned.
        newest = max(self._checkpoints.steps(), default=0)
        told, damaged = (0, 0), set()
        for event in read_events(self._run.events):
            if event["event"] == "resume":
                told = (event["checkpoint"], event["attempt"])
            elif event["event"] == "damaged checkpoint":
                damaged.add(event["checkpoint"])
        ends = [told]
        if summary := read_summary(self._run.summary):
            ends.append((summary["steps"], summary["rollbacks"]))
        if history.step:
            # A checkpoint is begun once the one before it is complete, so the line behind the next tells of this one.
            every = self._run.recipe.training.checkpoint_every
            complete = (history.step - 1) // every * every - every
            if complete > (history.rollbacks[-1].target if history.rollbacks else 0):
                ends.append((complete, history.attempt))
        for step, attempt in sorted(ends):
            if step > history.step and history.is_live(attempt, step):
                raise self._without_line(step)
            aside = self._checkpoints.path / aside_name(step)
            if step > newest and step not in damaged and not present(aside):
                yield step, attempt, None

    def _without_line(self, step: int) -> UserError:
        return UserError(
            f"{self._run.ledger}: lacks the line of checkpoint {step}; the ledger that belongs to the "
            "checkpoints is needed to go on, or another directory with --run"
        )

    def _folder(self, step: int) -> Path:
        return self._checkpoints.path / f"{step:08d}"

    # What is kept

    def prune(self, history: History) -> None:
        """Deletes the checkpoints that neither the recipe asks to keep nor a rollback could need.

        Those that a rollback has just left behind stay until its target is reached: see `leave_behind`.
        """
        steps = [step for step in self._checkpoints.steps() if step <= history.step]
        self._delete([step for step in steps if step not in retained(self._recipe.training, steps)])

    def leave_behind(self, history: History) -> None:
        """Deletes the checkpoints behind the end of the live path, once that is reached."""
        self._checkpoints.wait()
        self._delete([step for step in self._checkpoints.steps() if step > history.step])

    def _delete(self, steps: Sequence[int]) -> None:
        for step in steps:
            self._checkpoints.delete(step)

    # Other environments

    def elsewhere(self) -> list[str]:
        """Says how the environment differs from the one that the run began in, or did once; empty if it never did."""
        here = environment.record(self._recipe.layout, self._recipe.inelastic)
        told = (event.get("text", "") for event in read_events(self._run.events) if event["event"] == "environment")
        return environment.differences(read_environment(self._run.environment) or {}, here) or list(told)
