"""Writing of the records beside ledger and checkpoints: events, measurements, validation losses and the summary."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

from palmetto.host import power
from palmetto.json_lines import JsonLines
from palmetto.model.experts.router import Routing
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_events
from palmetto.tokens.store import TokenStore
from palmetto.training import summary, surroundings
from palmetto.training.divergence import rises
from palmetto.training.energy import Account, open_account
from palmetto.training.ledger import Line
from palmetto.training.replay import At, LivePath
from palmetto.training.spikes import Exhausted, Rollback
from palmetto.training.step.execution import Execution, observe
from palmetto.training.step.validation import make_validation
from palmetto.training.utilization import peak_of, utilization


class Progress(Protocol):
    """Describes an object that shows the progress of a run to the user."""

    def step(self, line: Line, tokens_per_second: float, mfu: float) -> None:
        """Shows a finished step."""

    def message(self, text: str) -> None:
        """Shows a message to the user."""


class Recorder:
    """Writes the record of a process's training, and reports to the user."""

    peak: float
    """The peak FLOP/s that the MFU is relative to, set by `begin`."""
    energy: Account
    """The account of what this process uses, opened by `begin`."""

    def __init__(
        self, run: RunDirectory, recipe: Recipe, execution: Execution, here: dict[str, Any], progress: Progress
    ) -> None:
        self.run, self.recipe, self.execution, self.here, self.progress = run, recipe, execution, here, progress
        vocabulary = execution.vocabulary
        self._metrics = JsonLines(run.metrics)
        told = [event for event in read_events(run.events) if event["event"] == "evaluation"]
        self._evaluated = {(event["step"], event["attempt"]) for event in told}
        self.validation_store = TokenStore.open(run.validation_store, vocabulary_digest=vocabulary.digest)
        self.validation_loss = make_validation(
            recipe,
            execution.tuning,
            execution.sharding,
            self.validation_store,
            vocabulary.eod,
            execution.reference,
        )

    def begin(self) -> None:
        """Records recipe, environment and peak FLOP/s, once all checks have passed."""
        self.run.claim(self.recipe)
        surroundings.record(self.run, self.here)
        self.peak = peak_of(self.run, self.recipe)
        # Of several processes each has a part of the chips, and meters that others of its machine share.
        self.energy = open_account(self.run, power.meters(self.here["platform"]) if jax.process_count() == 1 else None)

    def message(self, text: str) -> None:
        """Shows a message to the user."""
        self.progress.message(text)

    def event(self, event: str, text: str, **fields: Any) -> None:
        """Writes an event to the log and shows its text to the user."""
        self.run.record_event(event, text=text, **fields)
        self.message(text)

    def measure(self, line: Line, seconds: float, routing: Routing | None) -> None:
        """Writes the time and throughput of a step and the statistics of its routers."""
        rate = line.sequences * self.recipe.tokens.sequence_length / seconds
        mfu = utilization(self.recipe, rate, self.peak)
        metrics: dict[str, Any] = {
            "step": line.step,
            "attempt": line.attempt,
            "seconds": round(seconds, 6),
            "tokens_per_second": round(rate, 1),
            "mfu": round(mfu, 5),
        }
        if routing is not None:
            # Means over layers are written every step; the loads of all experts, which are long, with each digest.
            metrics |= {name: float(np.mean(getattr(routing, name))) for name in ("dropped", "entropy", "balance", "z")}
            if line.step % self.recipe.training.digest_every == 0:
                metrics["load"] = np.round(np.asarray(routing.load, float), 5).tolist()
        self._metrics.append(metrics)
        self.energy.note()
        self.progress.step(line, rate, mfu)

    def tell_if_left_out(self, line: Line) -> None:
        """Reports a step whose update was skipped."""
        if observe(line).overflow:
            text = f"a gradient overflowed at loss scale {line.loss_scale:.0f}; parameters left as they were"
            self.event("overflow", f"step {line.step}: {text}", step=line.step)
        elif not line.applied:
            self.event("skipped step", f"step {line.step}: NaN or Inf; parameters left as they were", step=line.step)

    def tell_of_rollback(self, rollback: Rollback, base: int) -> None:
        """Reports a rollback and the checkpoint that training resumes from."""
        text = (
            f"{rollback.reason} from step {rollback.onset} to {rollback.detected}: back to step {rollback.target} "
            f"(checkpoint {base}), passing over {rollback.batches} batches"
        )
        self.event("rollback", text, checkpoint=base, **rollback._asdict())

    def tell_of_giving_up(self, exhausted: Exhausted) -> None:
        """Reports a spike that rollbacks have not overcome."""
        text = f"the spike at step {exhausted.onset} came back after {exhausted.rollbacks} rollbacks"
        self.event("gave up", text, **exhausted._asdict())

    def watch_for_divergence(self, path: LivePath) -> None:
        """Reports slow divergence at the step where it is noticed."""
        window = self.recipe.training.spikes.window
        if path.step % window == 0:
            for rise in rises([line.loss for line in path.lines], window):
                if rise.noticed == path.step:
                    self.event("rising loss", str(rise), step=path.step, since=rise.since)

    def validate(self, at: At, path: LivePath) -> None:
        """Measures and reports the validation loss of the state at the end of the path."""
        loss = self.validation_loss(self.execution.at_hand(at.state).parameters)
        text = f"validation loss {loss:.4f} at step {path.step}"
        self.event("validation", text, step=path.step, attempt=path.history.attempt, loss=loss)

    def has_evaluated(self, step: int, attempt: int) -> bool:
        """Returns whether the evaluation of a step is among the events."""
        return (step, attempt) in self._evaluated

    def tell_of_evaluation(self, step: int, attempt: int, scores: Mapping[str, Any]) -> None:
        """Reports the scores of a checkpoint on tasks."""
        self._evaluated.add((step, attempt))
        shown = ", ".join(f"{name} {values['value']:.2f}" for name, values in scores.items())
        self.event("evaluation", f"step {step}: {shown}", step=step, attempt=attempt, scores=dict(scores))

    def summarize(self, at: At, path: LivePath, digests: tuple[str, str]) -> None:
        """Writes the summary of the run; `digests` are those of parameters and optimizer state."""
        self.energy.settle()
        summary.write(self.run, self.recipe, path, at.step, digests, self.validation_store, self.peak)
