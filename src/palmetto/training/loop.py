"""The training loop, which resumes a run, takes steps, records them, writes checkpoints and rolls back."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from palmetto.errors import RunStopped, UserError
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.tokens import vocabularies
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.digest import form_of
from palmetto.training.ledger import Ledger
from palmetto.training.recording import Progress, Recorder
from palmetto.training.recovery import Recovery
from palmetto.training.replay import At, Differs, LivePath, take_again
from palmetto.training.retention import Retention
from palmetto.training.spikes import Rollback
from palmetto.training.step.execution import Execution
from palmetto.training.stopping import Stop

Evaluate = Callable[[int, int], Mapping[str, Any]]
"""Returns the scores of the checkpoint of a step, which was taken in an attempt, by task."""


def train(
    run: RunDirectory,
    recipe: Recipe,
    until: int,
    here: dict[str, Any],
    progress: Progress,
    execution: Execution | None = None,
    evaluate: Evaluate | None = None,
) -> bool:
    """Trains a run to step `until` and returns True, or False if a signal came first.

    The caller must have locked the directory. `here` is the record of this environment; `execution` takes the steps,
    by default in this process. `evaluate` does the evaluations that the recipe asks for.
    """
    execution = execution or Execution(recipe, run.train_store, vocabularies.load(run.vocabulary))
    execution.order.check(recipe.training.steps)
    checkpoints = Checkpoints(run.checkpoints, execution.table)
    recorder = Recorder(run, recipe, execution, here, progress)
    return Loop(run, recipe, execution, checkpoints, recorder, evaluate).train(until)


class Loop:
    """Trains a run in one process."""

    path: LivePath
    at: At
    """The current state, which lags behind the end of the path while steps are repeated."""

    def __init__(
        self,
        run: RunDirectory,
        recipe: Recipe,
        execution: Execution,
        checkpoints: Checkpoints,
        recorder: Recorder,
        evaluate: Evaluate | None = None,
    ) -> None:
        self.training, self.execution = recipe.training, execution
        self.checkpoints, self.recorder, self.evaluate = checkpoints, recorder, evaluate
        self.ledger = Ledger.open(run.ledger)
        self.form = form_of(next((line.parameters for line in self.ledger.lines if line.parameters), None))
        self.retention = Retention(recipe, execution, checkpoints, self.ledger, self.form)
        self.recovery = Recovery(run, recipe, execution, checkpoints, self.ledger, self.retention, recorder)
        self.stop = Stop(recorder.message)

    def train(self, until: int) -> bool:
        """Trains to step `until`, then writes a checkpoint and the summary; returns False if a signal came first."""
        with self.stop.listening(), contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self.ledger.settle)
            self.path = self.recovery.follow_ledger()
            if self.path.step > self.training.steps:
                raise UserError(f"training.steps={self.training.steps}: the run is at step {self.path.step} already")
            self.path, self.at = self.recovery.resume(self.path)
            self.recorder.begin()
            if self.path.step == 0:
                self.recorder.validate(self.at, self.path)
            self._evaluate()  # what a killed process has begun
            while self.at.step < max(self.path.step, until) and not self.stop.is_due(self.at.state):
                self.checkpoints.check()
                if self.at.step < self.path.step:
                    self._repeat()
                else:
                    self._advance(until)
                self._evaluate()
            self.ledger.sync()
            self.retention.save(self.at, self.path)
            self.checkpoints.wait()
            self.retention.prune(self.path)
            if self.stop.signal:
                text = f"{self.stop.signal}: stopped at step {self.at.step}; the same command goes on"
                self.recorder.event("stopped", text)
            digests = self.checkpoints.digests(self.execution.at_hand(self.at.state), self.form)
            self.recorder.summarize(self.at, self.path, digests)
            return not self.stop.signal

    def _repeat(self) -> None:
        """Repeats the step of the live path that follows the state, and compares it with the ledger."""
        line = self.path.lines[self.at.step]
        try:
            state = take_again(self.execution, self.at.state, line, self.path.history)
        except Differs as differs:
            self.at = self.recovery.go_deeper(self.path, self.at.step, differs.difference)
            return
        self.at = At(state, line.step)
        if self.at.step == self.path.step:
            self.retention.leave_behind(self.path)
        if self.at.step % self.training.checkpoint_every == 0:
            self.retention.save(self.at, self.path)

    def _advance(self, until: int) -> None:
        """Takes the next step, records it, and rolls back, checkpoints or validates as it requires."""
        step, history, training = self.path.step + 1, self.path.history, self.training
        self._check_text(step)
        start = time.perf_counter()
        state, line, routing = self.execution.take(self.at.state, step, history.attempt, history.skips)
        seconds = time.perf_counter() - start
        has_digest = step % training.digest_every == 0
        self.ledger.append(line, self.execution.parameters_digest(state, self.form) if has_digest else None)
        self.recorder.measure(line, seconds, routing)
        self.recorder.tell_if_left_out(line)
        decision = self.path.add(line)
        if isinstance(decision, Rollback):
            self.at = self.recovery.roll_back(self.path, decision)
            return
        self.at = At(state, step)
        if decision:
            self.recovery.give_up(decision)
        self.recorder.watch_for_divergence(self.path)
        if step % training.checkpoint_every == 0:
            self.retention.save(self.at, self.path)
        if step % training.evaluate_every == 0 or step == until:
            self.recorder.validate(self.at, self.path)

    def _evaluate(self) -> None:
        """Evaluates the checkpoint of the present step, if that is due and not done yet."""
        step, wanted = self.at.step, self.training.evaluations
        if self.evaluate is None or wanted is None or not step:
            return
        attempt = self.path.lines[step - 1].attempt
        due = step % wanted.every == 0 or step == self.training.steps
        if due and not self.recorder.has_evaluated(step, attempt):
            self.retention.save(self.at, self.path)
            self.checkpoints.wait()
            self.recorder.tell_of_evaluation(step, attempt, self.evaluate(step, attempt))

    def _check_text(self, step: int) -> None:
        """Saves the state and raises RunStopped if rollbacks have left too little text for a step."""
        try:
            self.execution.order.positions(step, self.path.history.skips)
        except RunStopped:
            self.retention.save(self.at, self.path)
            self.checkpoints.wait()
            raise
