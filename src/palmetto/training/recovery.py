"""Recovery, which chooses the checkpoint to resume from at the start, after a rollback and after a failed replay."""

from collections.abc import Iterator

from palmetto.errors import RunStopped, UserError
from palmetto.host import environment
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment, read_events
from palmetto.runs.manifest import CheckpointDamaged, Manifest
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.ledger import Ledger
from palmetto.training.missing import MissingCheckpoints
from palmetto.training.recording import Recorder
from palmetto.training.replay import At, Difference, LivePath, Misplaced, begin_at, follow
from palmetto.training.retention import Retention
from palmetto.training.spikes import Exhausted, History, Rollback
from palmetto.training.step.execution import Execution
from palmetto.training.step.state import State


class Recovery:
    """Restores the checkpoints of a run as its ledger requires."""

    def __init__(
        self,
        run: RunDirectory,
        recipe: Recipe,
        execution: Execution,
        checkpoints: Checkpoints,
        ledger: Ledger,
        retention: Retention,
        recorder: Recorder,
    ) -> None:
        self._run, self._recipe, self._execution, self._recorder = run, recipe, execution, recorder
        self._checkpoints, self._ledger, self._retention = checkpoints, ledger, retention
        self._missing = MissingCheckpoints(run, checkpoints, ledger, recorder.event, self._set_aside)

    def follow_ledger(self) -> LivePath:
        """Returns the live path that follows from the lines of the ledger.

        Raises UserError if a line is out of place, and RunStopped if the last one made the run give up.
        """
        try:
            path = follow(self._execution.history(), self._ledger.lines)
        except Misplaced as misplaced:
            line, (attempt, step) = misplaced.line, misplaced.expected
            raise UserError(
                f"{self._run.ledger}: line {misplaced.number} is step {line.step} of attempt {line.attempt}, "
                f"where step {step} of attempt {attempt} follows"
            ) from None
        if path.exhausted:
            self.give_up(path.exhausted)
        return path

    def resume(self, path: LivePath) -> tuple[LivePath, At]:
        """Returns the live path, with the ledger cut to the newest checkpoint on it, and the state there.

        After a rollback the path may extend beyond the checkpoint; the steps to its end are then to be repeated.
        """
        self._checkpoints.clear_unfinished()
        at = self._restore(path.history, path.step)
        self._checkpoints.record()
        lines, attempt = self._ledger.lines, path.history.attempt
        keep = sum(line.attempt < attempt or line.step <= at.step for line in lines)
        cut = len(lines) - keep
        if lines:
            text = f"going on from checkpoint {at.step}" if at.step else "no checkpoint yet: going on from step 0"
            self._recorder.event("resume", text, checkpoint=at.step, attempt=attempt, ledger_lines_cut=cut)
        if cut:
            self._ledger.cut(keep)
            path = self.follow_ledger()
        told = {event["attempt"] for event in read_events(self._run.events) if event["event"] == "rollback"}
        for rollback in path.history.rollbacks:
            if rollback.attempt not in told:  # killed between the decision and its report
                self._recorder.tell_of_rollback(rollback, at.step)
        return path, self._go_on(path, at)

    def roll_back(self, path: LivePath, rollback: Rollback) -> At:
        """Returns the state from which training resumes after a rollback that was just decided."""
        self._ledger.sync()
        self._checkpoints.wait()
        at = self._restore(path.history, rollback.target)
        self._recorder.tell_of_rollback(rollback, at.step)
        return self._go_on(path, at)

    def go_deeper(self, path: LivePath, step: int, difference: Difference) -> At:
        """Returns the state from which training resumes if the step after `step` was not repeated to the bit.

        The rollback's target moves back to the checkpoint where the repeated steps began, if the environment explains
        the difference; otherwise raises RunStopped.
        """
        text = f"step {difference.step} did not come out as the ledger says ({difference.quantity} differs)"
        if not (elsewhere := self.elsewhere()):
            raise RunStopped(f"{text}: this machine does not keep the promise of the same bits")
        self._checkpoints.wait()
        at = self._restore(path.history, step)
        path.deepen(at.step)
        self._recorder.event(
            "deeper rollback",
            f"{text}, as not all steps were taken in one environment ({'; '.join(elsewhere)}): back to checkpoint "
            f"{at.step}, and on from there without the promise of the same bits",
            step=difference.step,
            checkpoint=at.step,
            attempt=path.history.attempt,
        )
        return self._go_on(path, at)

    def _go_on(self, path: LivePath, at: At) -> At:
        if at.step < path.step:
            self._recorder.message(f"repeating steps {at.step + 1} to {path.step}")
        else:
            self._retention.leave_behind(path)
        return at

    def give_up(self, exhausted: Exhausted) -> None:
        """Raises RunStopped for a spike that rollbacks have not overcome."""
        self._recorder.tell_of_giving_up(exhausted)
        raise RunStopped(
            f"{self._run.path}: the spike at step {exhausted.onset} came back after {exhausted.rollbacks} rollbacks "
            "(training.spikes.attempts); a lower training.schedule.peak may train"
        )

    def elsewhere(self) -> list[str]:
        """Returns how the environment differs now, or once differed, from the one that the run began in."""
        here = environment.record(self._recipe.mesh_record, self._recipe.inelastic)
        told = (event.get("text", "") for event in read_events(self._run.events) if event["event"] == "environment")
        return environment.differences(read_environment(self._run.environment) or {}, here) or list(told)

    # The choice of the checkpoint

    def _restore(self, history: History, latest: int) -> At:
        """Returns the newest sound checkpoint of the live path up to step `latest`, or else the initial state.

        A damaged checkpoint is set aside. Raises UserError if a checkpoint is missing or belongs to another run.
        """

        def read(step: int) -> State | None:
            try:
                return self._checkpoints.restore(step, self._execution.shapes())
            except CheckpointDamaged as error:
                self._set_aside(step, str(error))
                return None

        return begin_at(self._execution, self._sound(history, latest), read)

    def _sound(self, history: History, latest: int) -> Iterator[int]:
        """Yields the step of the newest sound checkpoint up to `latest`, then the next if the caller set it aside."""
        while True:
            steps = reversed(self._checkpoints.steps())
            newest = next((step for step in steps if self._is_sound(step, history, latest)), 0)
            self._missing.check(history, newest, latest)
            if not newest:
                return
            yield newest

    def _is_sound(self, step: int, history: History, latest: int) -> bool:
        """Returns whether training can resume from a checkpoint; its files are read only if it would be used."""
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
        what = None if self._recipe.continues(manifest.recipe) else "recipe"
        what = what or (None if manifest.tokens == self._execution.store.checksum else "tokens")
        if what:
            raise UserError(
                f"{self._checkpoints.folder(manifest.step)}: a checkpoint of other {what} than this run's; "
                "give another directory with --run"
            )
        self._missing.check_line(manifest.step, manifest.attempt, manifest.chain)

    def _set_aside(self, step: int, why: str) -> None:
        aside = self._checkpoints.set_aside(step)
        text = f"{why}; set aside as {aside.name}, the one before it is used"
        self._recorder.event("damaged checkpoint", text, checkpoint=step)
