"""A run, read from top to bottom: resume, step, judge, record, checkpoint, roll back."""

import contextlib
import signal
import time
from types import FrameType
from typing import Any, Protocol

import numpy as np

from palmetto.errors import RunStopped, UserError
from palmetto.files import JsonLines, write_json
from palmetto.host import environment, signals
from palmetto.model.experts.router import Routing
from palmetto.model.weights import count
from palmetto.parallel.processes import any_of
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import Measured, read_environment, read_events, read_metrics
from palmetto.tokens.packing import unigram_entropy
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training import surroundings
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.digest import form_of
from palmetto.training.divergence import rises
from palmetto.training.flops import device_peak, flops_per_token, mesh_peak
from palmetto.training.ledger import Ledger, Line, differing
from palmetto.training.recovery import Recovery
from palmetto.training.spikes import Exhausted, History, Rollback
from palmetto.training.step.execution import Execution, observe
from palmetto.training.step.state import State
from palmetto.training.step.validation import make_validation


class Progress(Protocol):
    """Where a run tells a person how it goes."""

    def step(self, line: Line, tokens_per_second: float, mfu: float) -> None: ...

    def message(self, text: str) -> None: ...


class Loop:
    """One process's hold on a run. The directory must be locked by the caller."""

    def __init__(
        self,
        run: RunDirectory,
        recipe: Recipe,
        here: dict[str, Any],
        progress: Progress,
        execution: Execution | None = None,
    ) -> None:
        """`here`: the record of the environment here. `execution`: what takes the steps, by default this process."""
        self.run, self.recipe, self.here, self.progress = run, recipe, here, progress
        vocabulary = Vocabulary.load(run.vocabulary)
        self.execution = execution or Execution(self.recipe, run.train_store, vocabulary)
        self.execution.order.check(self.recipe.training.steps)
        self.validation_store = TokenStore.open(run.validation_store, vocabulary_digest=vocabulary.digest)
        self.validate = make_validation(
            self.recipe, self.execution.layout, self.execution.sharding, self.validation_store, vocabulary.eod
        )
        self.ledger = Ledger(run.ledger)
        self.form = form_of(next((line.parameters for line in self.ledger.lines if line.parameters), None))
        self.checkpoints = Checkpoints(run.checkpoints, self.execution.table)
        self.recovery = Recovery(run, recipe, self.execution, self.checkpoints, self.ledger, self.event)
        self.metrics = JsonLines(run.metrics)
        self.history, self.path = self._read_ledger()
        self.step = 0
        """The step that the state is the one after; behind the history's while steps are repeated."""
        self.signal: str | None = None

    def begin(self) -> None:
        """Makes the run this recipe's, once nothing can refuse it any more."""
        self.run.claim(self.recipe)
        surroundings.record(self.run, self.here)
        self.peak = self._peak()

    def _peak(self) -> float:
        """FLOP/s that the MFU is taken against: the recipe's, or its devices'.

        One device's are measured once a run, so that its curve has no steps at a resume; of how many devices the mesh
        is, may change at each.
        """
        if (stated := self.recipe.training.peak_flops) is not None:
            return stated
        recorded = read_environment(self.run.environment) or {}
        if "device_peak_flops" not in recorded:
            recorded["device_peak_flops"] = device_peak()
            write_json(self.run.environment, recorded)
        return mesh_peak(self.recipe, recorded["device_peak_flops"])

    # Going on from what is there

    def _read_ledger(self) -> tuple[History, list[Line]]:
        """What follows from the ledger's lines: the history, and the lines of the live path."""
        history, path = self.execution.history(), list[Line]()
        for number, line in enumerate(self.ledger.lines, 1):
            if not history.follows(line.attempt, line.step):
                raise UserError(
                    f"{self.run.ledger}: line {number} is step {line.step} of attempt {line.attempt}, "
                    f"where step {history.step + 1} of attempt {history.attempt} follows"
                )
            path[line.step - 1 :] = [line]
            if isinstance(decision := history.feed(observe(line)), Rollback):
                del path[decision.target :]
            elif decision:
                self._give_up(decision)
        return history, path

    def resume(self) -> State:
        """The state of the newest checkpoint on the live path; the ledger is cut to it.

        After a rollback the live path ends behind it, and the steps to its end are to be repeated.
        """
        self.checkpoints.clear_unfinished()
        state, base = self.recovery.restore(self.history, self.history.step)
        self.checkpoints.record()
        attempt = self.history.attempt
        keep = sum(line.attempt < attempt or line.step <= base for line in self.ledger.lines)
        cut = len(self.ledger.lines) - keep
        if self.ledger.lines:
            text = f"going on from checkpoint {base}" if base else "no checkpoint yet: going on from step 0"
            self.event("resume", text, checkpoint=base, attempt=attempt, ledger_lines_cut=cut)
        if cut:
            self.ledger.cut(keep)
            self.history, self.path = self._read_ledger()
        told = {event["attempt"] for event in read_events(self.run.events) if event["event"] == "rollback"}
        for rollback in self.history.rollbacks:
            if rollback.attempt not in told:  # killed between the decision and the word of it
                self._tell(rollback, base)
        return self._go_on_from(state, base)

    def _go_on_from(self, state: State, step: int) -> State:
        self.step = step
        if step < self.history.step:
            self.progress.message(f"repeating steps {step + 1} to {self.history.step}")
        else:
            self.recovery.leave_behind(self.history)
        return state

    def _repeat(self, state: State) -> State:
        """Takes once more the step of the live path that follows the state, and compares it with the ledger."""
        was = self.path[self.step]
        state, line, _ = self.execution.take(state, was.step, was.attempt, self.history.skips)
        if quantity := differing(was, line):
            return self._give_up_repeating(was.step, quantity)
        self.step = was.step
        if self.step == self.history.step:
            self.recovery.leave_behind(self.history)
        if self.step % self.recipe.training.checkpoint_every == 0:
            self._checkpoint(state)
        return state

    def _give_up_repeating(self, step: int, quantity: str) -> State:
        """Moves the rollback's target to the checkpoint that the repeated steps began at, if it is no wonder that they
        did not come out as before; RunStopped otherwise."""
        text = f"step {step} did not come out as the ledger says ({quantity} differs)"
        if not (elsewhere := self.recovery.elsewhere()):
            raise RunStopped(f"{text}: this machine does not keep the promise of the same bits")
        self.checkpoints.wait()
        state, base = self.recovery.restore(self.history, self.step)
        self.history.deepen(base)
        del self.path[base:]
        self.event(
            "deeper rollback",
            f"{text}, as not all steps were taken in one environment ({'; '.join(elsewhere)}): back to checkpoint "
            f"{base}, and on from there without the promise of the same bits",
            step=step,
            checkpoint=base,
            attempt=self.history.attempt,
        )
        return self._go_on_from(state, base)

    # Going forward

    def train(self, until: int) -> bool:
        """Takes the run to step `until`, checkpoints and writes the summary; returns False if a signal came first."""
        training = self.recipe.training
        with signals.heard_by(self._on_signal), contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self.ledger.settle)
            if self.history.step > training.steps:
                raise UserError(f"training.steps={training.steps}: the run is at step {self.history.step} already")
            state = self.resume()
            self.begin()
            if self.history.step == 0:
                self._validate(state)
            while (self.step < self.history.step or self.step < until) and not self._told_to_stop(state):
                self.checkpoints.check()
                state = self._repeat(state) if self.step < self.history.step else self._advance(state, until)
            self._checkpoint(state)
            self.checkpoints.wait()
            self.recovery.prune(self.history)
            if self.signal:
                self.event("stopped", f"{self.signal}: stopped at step {self.step}; the same command goes on")
            self._summarize(state)
            return not self.signal

    def _advance(self, state: State, until: int) -> State:
        training = self.recipe.training
        step, attempt = self.history.step + 1, self.history.attempt
        self._check_text(state, step)
        start = time.perf_counter()
        state, line, routing = self.execution.take(state, step, attempt, self.history.skips)
        seconds = time.perf_counter() - start
        has_digest = step % training.digest_every == 0
        self.ledger.append(line, self.execution.parameters_digest(state, self.form) if has_digest else None)
        self.path.append(line)
        self.step = step
        self._measure(line, seconds, routing)
        observation = observe(line)
        if observation.overflow:
            self.event("overflow", f"step {step}: a gradient overflowed at loss scale {line.loss_scale:.0f}; "
                       "parameters left as they were", step=step)  # fmt: skip
        elif not line.applied:
            self.event("skipped step", f"step {step}: NaN or Inf; parameters left as they were", step=step)
        decision = self.history.feed(observation)
        if isinstance(decision, Rollback):
            return self._roll_back(decision)
        if decision:
            self._give_up(decision)
        self._watch_for_divergence(step)
        if step % training.checkpoint_every == 0:
            self._checkpoint(state)
        if step % training.evaluate_every == 0 or step == until:
            self._validate(state)
        return state

    def _watch_for_divergence(self, step: int) -> None:
        """Tells of a loss that rises little by little, once it has risen for long."""
        window = self.recipe.training.spikes.window
        if step % window == 0:
            for rise in rises([line.loss for line in self.path], window):
                if rise.noticed == step:
                    self.event("rising loss", str(rise), step=step, since=rise.since)

    def _check_text(self, state: State, step: int) -> None:
        """RunStopped, the state saved, where rollbacks have passed over so much text that none is left for a step."""
        try:
            self.execution.order.positions(step, self.history.skips)
        except RunStopped:
            self._checkpoint(state)
            self.checkpoints.wait()
            raise

    def _roll_back(self, rollback: Rollback) -> State:
        del self.path[rollback.target :]
        self.ledger.sync()
        self.checkpoints.wait()
        state, base = self.recovery.restore(self.history, rollback.target)
        self._tell(rollback, base)
        return self._go_on_from(state, base)

    def _tell(self, rollback: Rollback, base: int) -> None:
        text = (
            f"{rollback.reason} from step {rollback.onset} to {rollback.detected}: back to step {rollback.target} "
            f"(checkpoint {base}), passing over {rollback.batches} batches"
        )
        self.event("rollback", text, checkpoint=base, **rollback._asdict())

    def _give_up(self, exhausted: Exhausted) -> None:
        self.event("gave up", f"the spike at step {exhausted.onset} came back after {exhausted.rollbacks} rollbacks",
                   **exhausted._asdict())  # fmt: skip
        raise RunStopped(f"{self.run.path}: the spike at step {exhausted.onset} came back after {exhausted.rollbacks} "
                         "rollbacks (training.spikes.attempts); a lower training.schedule.peak may train")  # fmt: skip

    # Recording

    def _checkpoint(self, state: State) -> None:
        self.checkpoints.wait()
        if self.step == 0 or self.step in self.checkpoints.steps():
            return
        self.recovery.prune(self.history)
        self.ledger.sync()
        attempt = self.path[self.step - 1].attempt
        self.checkpoints.save(
            self.execution.at_hand(state),
            self.form,
            step=self.step,
            attempt=attempt,
            recipe=self.recipe.digest,
            tokens=self.execution.store.checksum,
            chain=self.ledger.chain_at(attempt, self.step),
        )

    def _measure(self, line: Line, seconds: float, routing: Routing | None) -> None:
        rate = line.sequences * self.recipe.tokens.sequence_length / seconds
        mfu = self._utilization(rate)
        metrics = {"step": line.step, "attempt": line.attempt, "seconds": round(seconds, 6),
                   "tokens_per_second": round(rate, 1), "mfu": round(mfu, 5)}  # fmt: skip
        if routing is not None:
            # Means over the layers each step; every expert's load, which is long, as often as digests are taken.
            metrics |= {name: float(np.mean(getattr(routing, name))) for name in ("dropped", "entropy", "balance", "z")}
            if line.step % self.recipe.training.digest_every == 0:
                metrics["load"] = np.round(np.asarray(routing.load, float), 5).tolist()
        self.metrics.append(metrics)
        self.progress.step(line, rate, mfu)

    def _utilization(self, rate: float) -> float:
        """MFU at `rate` tokens of the text a second, of which examples may make more positions."""
        positions = rate * self.recipe.model_length / self.recipe.tokens.sequence_length
        return positions * flops_per_token(self.recipe) / self.peak

    def _validate(self, state: State) -> None:
        loss = self.validate(self.execution.at_hand(state).parameters)
        self.event("validation", f"validation loss {loss:.4f} at step {self.history.step}",
                   step=self.history.step, attempt=self.history.attempt, loss=loss)  # fmt: skip

    def event(self, event: str, text: str, **fields: Any) -> None:
        """Writes an event to the log and tells the person watching."""
        self.run.record_event(event, text=text, **fields)
        self.progress.message(text)

    def _summarize(self, state: State) -> None:
        recipe, step = self.recipe, self.step
        losses = self._validation_losses()
        seconds = sorted(m["seconds"] / line.sequences for m, line in self._measured())
        parameters, optimizer = self.checkpoints.digests(self.execution.at_hand(state), self.form)
        rate = recipe.tokens.sequence_length / seconds[len(seconds) // 2] if seconds else 0.0
        write_json(
            self.run.summary,
            {
                "recipe": recipe.name,
                "parameters": count(recipe.model, recipe.model_vocabulary),
                "steps": step,
                "tokens": sum(line.sequences for line in self.path[:step]) * recipe.tokens.sequence_length,
                "validation_loss": {
                    "first": next(iter(losses.values()), None),
                    "last": next(reversed(losses.values()), None),
                    "best": min(losses.values(), default=None),
                },
                "unigram_entropy": unigram_entropy(self.validation_store),
                "tokens_per_second": round(rate, 1),
                "mfu": round(self._utilization(rate), 4),
                "peak_flops": self.peak,
                "rollbacks": self.history.attempt,
                "skipped_steps": self.history.not_finite,
                "digest": {"parameters": parameters, "optimizer": optimizer},
                "environment": environment.record(recipe.layout, recipe.inelastic),
            },
        )

    def _validation_losses(self) -> dict[int, float]:
        """Step → validation loss on the live path, ascending."""
        events = (event for event in read_events(self.run.events) if event["event"] == "validation")
        live = {
            event["step"]: event["loss"]
            for event in events
            if event["step"] <= self.history.step and self.history.is_live(event["attempt"], event["step"])
        }
        return dict(sorted(live.items()))

    def _measured(self) -> list[tuple[Measured, Line]]:
        """The metrics of the live path's steps with their lines; a later measurement of a step replaces an earlier."""
        newest = {(m["attempt"], m["step"]): m for m in read_metrics(self.run.metrics)}
        return [(newest[key], line) for line in self.path if (key := (line.attempt, line.step)) in newest]

    def _told_to_stop(self, state: State) -> bool:
        """Whether any process of the run has had a signal; all then stop behind the same step.

        One that comes while they agree is for the next step: the others know nothing of it.
        """
        stop = any_of(self.signal is not None, state)
        if stop and self.signal is None:
            self.signal = "a signal to another process"
        return stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        self.progress.message(f"{self.signal}: stopping before the next step")
