"""Detection of missing checkpoints, since resuming without them would cut the ledger at an earlier one."""

from collections.abc import Callable, Iterator
from typing import Protocol

from palmetto.errors import UserError
from palmetto.files import present
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_events, read_summary
from palmetto.training.checkpoint import Checkpoints, aside_name
from palmetto.training.ledger import Ledger
from palmetto.training.spikes import History


class Tell(Protocol):
    """Describes a function that writes an event to the log."""

    def __call__(self, event: str, text: str, **fields: object) -> None:
        """Writes an event with its text and further `fields`."""


class MissingCheckpoints:
    """Finds recorded checkpoints that are neither present nor set aside as damaged."""

    def __init__(
        self,
        run: RunDirectory,
        checkpoints: Checkpoints,
        ledger: Ledger,
        tell: Tell,
        set_aside: Callable[[int, str], None],
    ) -> None:
        """Keeps its arguments; `set_aside(step, reason)` renames a checkpoint that is present but damaged."""
        self._run, self._checkpoints, self._ledger = run, checkpoints, ledger
        self._tell, self._set_aside = tell, set_aside

    def check(self, history: History, base: int, latest: int) -> None:
        """Raises UserError if checkpoints of the live path after `base`, up to `latest`, are missing.

        Resuming from `base` would cut the ledger there, and the training after it could not be resumed when the
        missing checkpoints are back.
        """
        lost = []
        for step, attempt, chain in self._on_record(history):
            if chain is not None:
                self.check_line(step, attempt, chain)
            folder = self._checkpoints.folder(step)
            if step < base:
                self._tell("missing checkpoint", f"{folder}: missing; it is not needed now", checkpoint=step)
            elif step > latest or not history.is_live(attempt, step):
                continue
            elif self._checkpoints.lost_its_manifest(step):
                self._set_aside(step, f"{folder}/manifest.json: missing")
            else:
                lost.append(step)
        if lost:
            names = " ".join(str(self._checkpoints.path / aside_name(step)) for step in lost)
            there = f"checkpoint {base}" if base else "step 0"
            they = "it" if len(lost) == 1 else f"it and {len(lost) - 1} more"
            raise UserError(
                f"{self._checkpoints.folder(lost[-1])}: missing, where the ledger says that the run has been; bring "
                f"back what held {they} (is a disk not mounted?), or, if that is lost for good, have the run go on "
                f"from {there} by: mkdir -p {names}"
            )

    def check_line(self, step: int, attempt: int, chain: str) -> None:
        """Raises UserError if the ledger lacks the line of a checkpoint."""
        if not self._ledger.has(attempt, step, chain):
            raise self._without_line(step)

    def _on_record(self, history: History) -> Iterator[tuple[int, int, str | None]]:
        """Yields (step, attempt, chain) of each missing checkpoint, ascending."""
        if self._checkpoints.register.read() is None:
            yield from self._from_before_the_record(history)
        else:
            yield from self._checkpoints.missing()

    def _from_before_the_record(self, history: History) -> Iterator[tuple[int, int, None]]:
        """Yields missing checkpoints of a run without a register, as far as events, summary and ledger tell of them.

        Only those after the newest present checkpoint are considered, since earlier ones may have been pruned.
        """
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
            # The next checkpoint is begun only once this one is complete, so a line after the next one proves this one.
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
