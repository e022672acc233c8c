"""A run, read from top to bottom: resume, step, judge, record, checkpoint, roll back."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

import numpy as np

from palmetto import environment, signals
from palmetto.errors import RunStopped, UserError
from palmetto.files import JsonLines, read_json, read_json_lines, write_json
from palmetto.model.parameters import count
from palmetto.model.router import Routing
from palmetto.parallel.processes import any_of
from palmetto.run_directory import RunDirectory
from palmetto.tokens.packing import unigram_entropy
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training.checkpoint import CheckpointDamaged, Checkpoints
from palmetto.training.execution import Execution, observe
from palmetto.training.flops import device_peak, flops_per_token, mesh_peak
from palmetto.training.ledger import Ledger, Line, differing
from palmetto.training.spikes import Exhausted, History, Rollback, deepest_targets
from palmetto.training.state import State
from palmetto.training.validation import make_validation


class Progress(Protocol):
    """Where a run tells a person how it goes."""

    def step(self, line: Line, tokens_per_second: float, mfu: float) -> None: ...

    def message(self, text: str) -> None: ...


class Loop:
    """One process's hold on a run. The directory must be locked by the caller."""

    def __init__(self, run: RunDirectory, progress: Progress, execution: Execution | None = None) -> None:
        """`execution`: what takes the steps, by default this process."""
        self.run, self.progress = run, progress
        self.recipe = run.recipe
        vocabulary = Vocabulary.load(run.vocabulary)
        self.execution = execution or Execution(self.recipe, run.train_store, vocabulary)
        self.execution.order.check(self.recipe.training.steps)
        self.validation_store = TokenStore.open(run.validation_store, vocabulary_digest=vocabulary.digest)
        self.validate = make_validation(
            self.recipe, self.execution.layout, self.execution.sharding, self.validation_store, vocabulary.eod
        )
        self.checkpoints = Checkpoints(run.checkpoints, self.execution.table)
        self.ledger = Ledger(run.ledger)
        self.metrics = JsonLines(run.metrics)
        self.history, self.path = self._read_ledger()
        self.peak = self._peak()
        self.signal: str | None = None

    def _peak(self) -> float:
        """FLOP/s that the MFU is taken against: the recipe's, or its devices'.

        One device's are measured once a run, so that its curve has no steps at a resume; of how many devices the mesh
        is, may change at each.
        """
        if (stated := self.recipe.training.peak_flops) is not None:
            return stated
        recorded = read_json(self.run.environment)
        if "device_peak_flops" not in recorded:
            recorded["device_peak_flops"] = device_peak()
            write_json(self.run.environment, recorded)
        return mesh_peak(self.recipe, recorded["device_peak_flops"])

    # Going on from what is there

    def _read_ledger(self) -> tuple[History, list[Line]]:
        """What follows from the ledger's lines: the history, and the lines of the live path."""
        history, path = self.execution.history(), list[Line]()
        for number, line in enumerate(self.ledger.lines, 1):
            if (line.attempt, line.step) != (history.attempt, history.step + 1):
                raise UserError(
                    f"{self.run.ledger}: line {number} is step {line.step} of attempt {line.attempt}, "
                    f"where step {history.step + 1} of attempt {history.attempt} follows"
                )
            path.append(line)
            if isinstance(decision := history.feed(observe(line)), Rollback):
                del path[decision.target :]
            elif decision:
                self._give_up(decision)
        return history, path

    def resume(self) -> State:
        """The state that the newest checkpoint on the live path leads to; the ledger is cut to it."""
        self.checkpoints.clear_unfinished()
        base = self._newest_checkpoint(self.history.step)
        attempt = self.history.attempt
        keep = sum(line.attempt < attempt or line.step <= base for line in self.ledger.lines)
        cut = len(self.ledger.lines) - keep
        if self.ledger.lines:
            text = f"going on from checkpoint {base}" if base else "no checkpoint yet: going on from step 0"
            self.event("resume", text, checkpoint=base, attempt=attempt, ledger_lines_cut=cut)
        self.ledger.cut(keep)
        self.history, self.path = self._read_ledger()
        self._delete_checkpoints(lambda step: step > self.history.step)
        told = {event["attempt"] for event in read_json_lines(self.run.events) if event["event"] == "rollback"}
        for rollback in self.history.rollbacks:
            if rollback.attempt not in told:  # killed between the decision and the word of it
                self._tell(rollback, base)
        return self._state_after(self.history.step, base)

    def _newest_checkpoint(self, latest: int) -> int:
        """The newest sound checkpoint of the live path up to step `latest`; 0 is the initialization."""
        for step in reversed(self.checkpoints.steps()):
            try:
                manifest = self.checkpoints.manifest(step)
            except CheckpointDamaged as error:
                aside = self.checkpoints.set_aside(step)
                self.event("damaged checkpoint", f"{error}; set aside as {aside.name}, the one before it is used",
                           checkpoint=step)  # fmt: skip
                continue
            expected = {"recipe": self.recipe.digest, "tokens": self.execution.store.checksum}
            for key, value in expected.items():
                if getattr(manifest, key) != value:
                    raise UserError(f"{self.checkpoints.path}/{step:08d}: a checkpoint of other {key} than this run's; "
                                    "give another directory with --run")  # fmt: skip
            if not self.ledger.has(manifest.attempt, step, manifest.chain):
                raise UserError(f"{self.run.ledger}: lacks the line of checkpoint {step}; the ledger that belongs to "
                                "the checkpoints is needed to go on")  # fmt: skip
            if step <= latest and self.history.is_live(manifest.attempt, step):
                return step
        return 0

    def _state_after(self, step: int, base: int) -> State:
        """The state after a step of the live path: checkpoint `base`, and from there the ledger's steps once more."""
        state = self.checkpoints.restore(base, self.execution.shapes()) if base else self.execution.initial_state()
        if base < step:
            self.progress.message(f"repeating steps {base + 1} to {step}")
        for again in range(base + 1, step + 1):
            was = self.path[again - 1]
            state, line, _ = self.execution.take(state, again, was.attempt, self.history.skips)
            if quantity := differing(was, line):
                raise RunStopped(f"step {again} did not come out as the ledger says ({quantity} differs): this machine "
                                 "does not keep the promise of the same bits")  # fmt: skip
        return state

    # Going forward

    def train(self, until: int) -> bool:
        """Takes the run to step `until`, checkpoints and writes the summary; returns False if a signal came first."""
        training = self.recipe.training
        with signals.heard_by(self._on_signal):
            if self.history.step > training.steps:
                raise UserError(f"training.steps={training.steps}: the run is at step {self.history.step} already")
            state = self.resume()
            if self.history.step == 0:
                self._validate(state)
            while self.history.step < until and not self._told_to_stop(state):
                self.checkpoints.check()
                state = self._advance(state, until)
            self._checkpoint(state)
            self.checkpoints.wait()
            self._prune()
            if self.signal:
                self.event("stopped", f"{self.signal}: stopped at step {self.history.step}; the same command goes on")
            self._summarize(state)
            return not self.signal

    def _advance(self, state: State, until: int) -> State:
        training = self.recipe.training
        step, attempt = self.history.step + 1, self.history.attempt
        start = time.perf_counter()
        state, line, routing = self.execution.take(state, step, attempt, self.history.skips)
        seconds = time.perf_counter() - start
        if step % training.digest_every == 0:
            line = line._replace(parameters=self.execution.parameters_digest(state))
        self.ledger.append(line)
        self.path.append(line)
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
        if step % training.checkpoint_every == 0:
            self._checkpoint(state)
        if step % training.evaluate_every == 0 or step == until:
            self._validate(state)
        return state

    def _roll_back(self, rollback: Rollback) -> State:
        del self.path[rollback.target :]
        self.ledger.sync()
        self.checkpoints.wait()
        base = self._newest_checkpoint(rollback.target)
        self._tell(rollback, base)
        self._delete_checkpoints(lambda step: step > rollback.target)
        return self._state_after(rollback.target, base)

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
        step = self.history.step
        self.checkpoints.wait()
        if step == 0 or step in self.checkpoints.steps():
            return
        self._prune()
        self.ledger.sync()
        self.checkpoints.save(
            self.execution.at_hand(state),
            step=step,
            attempt=self.history.attempt,
            recipe=self.recipe.digest,
            tokens=self.execution.store.checksum,
            chain=self.ledger.chain,
        )

    def _prune(self) -> None:
        """Deletes the checkpoints that neither the recipe asks to keep nor a permitted rollback could need."""
        training, steps = self.recipe.training, self.checkpoints.steps()
        keep = set(steps[-training.keep_last :])
        if training.keep_every:
            keep |= {step for step in steps if step % training.keep_every == 0}
        if steps:
            for target in deepest_targets(training.spikes, steps[-1]):
                keep |= {max((step for step in steps if step <= target), default=0)}
        self._delete_checkpoints(lambda step: step not in keep)

    def _delete_checkpoints(self, unwanted: Callable[[int], bool]) -> None:
        for step in filter(unwanted, self.checkpoints.steps()):
            self.checkpoints.delete(step)

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
        recipe, step = self.recipe, self.history.step
        losses = self._validation_losses()
        seconds = sorted(m["seconds"] / line.sequences for m, line in self._measured())
        parameters, optimizer = self.checkpoints.digests(self.execution.at_hand(state))
        rate = recipe.tokens.sequence_length / seconds[len(seconds) // 2] if seconds else 0.0
        write_json(
            self.run.summary,
            {
                "recipe": recipe.name,
                "parameters": count(recipe.model, recipe.model_vocabulary),
                "steps": step,
                "tokens": sum(line.sequences for line in self.path) * recipe.tokens.sequence_length,
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
                "environment": environment.record(recipe.layout),
            },
        )

    def _validation_losses(self) -> dict[int, float]:
        """Step → validation loss on the live path, ascending."""
        events = (event for event in read_json_lines(self.run.events) if event["event"] == "validation")
        live = {
            event["step"]: event["loss"]
            for event in events
            if event["step"] <= self.history.step and self.history.is_live(event["attempt"], event["step"])
        }
        return dict(sorted(live.items()))

    def _measured(self) -> list[tuple[dict[str, Any], Line]]:
        """The metrics of the live path's steps with their lines; a later measurement of a step replaces an earlier."""
        newest = {(m["attempt"], m["step"]): m for m in read_json_lines(self.run.metrics)}
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
