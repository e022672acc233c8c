"""What the files of a run say of it, as arrays and values ready to be drawn. Nothing is computed that they don't hold.

The ledger leads: it says which steps were taken and which of them still count (the live path). Events, metrics and
summary are laid over it, whatever of them is there.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.host import environment
from palmetto.recipe import Recipe
from palmetto.report.curves import Floats
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import Event, Measured, Summary, read_environment, read_events, read_metrics, read_summary
from palmetto.training import ledger, origin

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


class Rollback(NamedTuple):
    """A return to an earlier step. What only its event tells is None where the event was lost in a kill."""

    attempt: int
    """Number of the attempt that begins; the first rollback begins attempt 1."""
    target: int
    """Training went on from the state after this step."""
    detected: int
    """The last step taken before."""
    onset: int | None
    """The spike's first step."""
    batches: int | None
    """Batches passed over from the target."""


class Validations(NamedTuple):
    """Validation losses in nats a token, by step; a later measurement of a step replaces an earlier."""

    step: Floats
    loss: Floats


class Routing(NamedTuple):
    """What the routers of a model with experts did: means over its layers that have them, a value a ledger line, NaN
    where metrics.jsonl lacks it; and every expert's load, for the few lines that it stands beside."""

    dropped: Floats
    """The share of assignments that found their expert full."""
    entropy: Floats
    """Of the gate, in nats."""
    balance: Floats
    """The load-balance loss, 1 where experts share evenly."""
    z: Floats
    """Mean log² of the gate's normalizer."""
    measured: Ints
    """[N]: the ledger lines, counted from 0, that have a load."""
    load: Floats
    """[N, layers with experts, E]: each expert's assignments as a multiple of an even share."""


@dataclass(frozen=True)
class Record:
    """A run as it stands. Arrays hold one value a ledger line, rolled-back attempts included, in the order written."""

    recipe: Recipe
    recipe_text: str
    step: Floats
    attempt: Floats
    live: Bools
    """Whether the step counts: no rollback went back before it."""
    applied: Bools
    """False where a NaN or Inf left the parameters as they were."""
    loss: Floats
    """Nats a token."""
    grad_norm: Floats
    parameter_norm: Floats
    z: Floats
    """Mean log² Z."""
    learning_rate: Floats
    sequences: Floats
    loss_scale: Floats
    """What the loss was multiplied by; NaN where activations are not float16."""
    seconds: Floats
    """NaN where metrics.jsonl lacks the step; so with the next two."""
    tokens_per_second: Floats
    mfu: Floats
    routing: Routing | None
    """None for a model without experts."""
    validations: Validations
    """On the live path."""
    dead_validations: Validations
    """On rolled-back attempts."""
    rollbacks: list[Rollback]
    events: list[Event]
    last_digest: tuple[int, str] | None
    """The newest step of the live path with a digest of the parameters in the ledger."""
    summary: Summary | None
    """summary.json, which may be that of an earlier step."""
    samples: str | None
    machine: dict[str, Any] | None
    """environment.json: what the run began on."""

    @property
    def last_step(self) -> int:
        """The last step of the live path; 0 before the first."""
        return int(self.step[self.live].max(initial=0))

    @property
    def closing(self) -> Summary | None:
        """The summary, if it is that of the last step."""
        return self.summary if self.summary and self.summary["steps"] == self.last_step else None

    @property
    def tokens(self) -> int:
        """Tokens trained on along the live path."""
        return int(self.sequences[self.live].sum()) * self.recipe.tokens.sequence_length

    @property
    def skipped(self) -> Bools:
        """Whether a line's update was left out for a NaN or Inf, and not for an overflow that the loss scale mends."""
        mended: Bools = (self.loss_scale > 1) & np.isfinite(self.loss)
        return ~self.applied & ~mended

    @property
    def skipped_steps(self) -> int:
        """Such steps on all attempts."""
        return int(self.skipped.sum())

    @property
    def unigram_entropy(self) -> float | None:
        """Nats a token, of the validation tokens; the same in any summary of the run."""
        return self.summary["unigram_entropy"] if self.summary else None

    @cached_property
    def parameters(self) -> int:
        """The number of parameters."""
        if self.summary:
            return int(self.summary["parameters"])
        environment.prepare(self.recipe.training.threads)
        from palmetto.model.weights import count  # imports JAX, which a finished run's report can do without

        return count(self.recipe.model, self.recipe.model_vocabulary)

    @property
    def speed(self) -> tuple[float, float] | None:
        """(tokens a second, MFU): the summary's, or else the medians over the measured steps of the live path."""
        if self.closing:
            return self.closing["tokens_per_second"], self.closing["mfu"]
        measured = self.live & np.isfinite(self.tokens_per_second)
        if not measured.any():
            return None
        return float(np.median(self.tokens_per_second[measured])), float(np.median(self.mfu[measured]))


def read(run: RunDirectory) -> Record:
    """Reads a run that may be unfinished or in training: files that are not there leave None or nothing in their place.

    UserError if a file that is there is not what was written; LedgerAltered, one of them, names the ledger's step.
    """
    origin.check_recipe(run, run.newest_manifest)
    lines, _ = ledger.read(run.ledger)
    events = read_events(run.events)
    rollbacks = _rollbacks(lines, events)
    step, attempt = _floats(lines, "step"), _floats(lines, "attempt")
    live = np.ones(len(lines), bool)
    for rollback in rollbacks:
        live &= (attempt >= rollback.attempt) | (step <= rollback.target)
    # A step measured again after a kill has two lines in the metrics: the later one counts.
    metrics = {(m["attempt"], m["step"]): m for m in read_metrics(run.metrics)}
    measured = [metrics.get((line.attempt, line.step)) for line in lines]
    digests = [(line.step, line.parameters) for line, counts in zip(lines, live, strict=True) if counts]
    return Record(
        recipe=run.recipe,
        recipe_text=run.recipe_file.read_text(),
        step=step,
        attempt=attempt,
        live=live,
        applied=np.array([line.applied for line in lines], bool),
        loss=_floats(lines, "loss"),
        grad_norm=_floats(lines, "grad_norm"),
        parameter_norm=_floats(lines, "parameter_norm"),
        z=_floats(lines, "z"),
        learning_rate=_floats(lines, "learning_rate"),
        sequences=_floats(lines, "sequences"),
        loss_scale=_floats(lines, "loss_scale"),
        seconds=_metric(measured, "seconds"),
        tokens_per_second=_metric(measured, "tokens_per_second"),
        mfu=_metric(measured, "mfu"),
        routing=_routing(run.recipe, measured),
        validations=_validations(lines, live, events),
        dead_validations=_validations(lines, ~live, events, with_start=False),
        rollbacks=rollbacks,
        events=events,
        last_digest=next(((at, digest) for at, digest in reversed(digests) if digest), None),
        summary=read_summary(run.summary),
        samples=run.samples.read_bytes().decode(errors="replace") if run.samples.exists() else None,
        machine=read_environment(run.environment),
    )


def _floats(lines: list[ledger.Line], field: str) -> Floats:
    return np.array([getattr(line, field) for line in lines], float)


def _metric(measured: list[Measured | None], name: str) -> Floats:
    return np.array([metrics.get(name, np.nan) if metrics else np.nan for metrics in measured], float)


def _routing(recipe: Recipe, measured: list[Measured | None]) -> Routing | None:
    """A load of another shape than the recipe's layers and experts is as good as none."""
    model = recipe.model
    if model.experts is None:
        return None
    shape = (sum(map(model.has_experts, range(model.layers))), model.experts.count)
    loads = {line: load for line, m in enumerate(measured) if m and (load := _array(m.get("load"))).shape == shape}
    return Routing(
        dropped=_metric(measured, "dropped"),
        entropy=_metric(measured, "entropy"),
        balance=_metric(measured, "balance"),
        z=_metric(measured, "z"),
        measured=np.array(list(loads), np.intp),
        load=np.array(list(loads.values()), float).reshape(-1, *shape) * model.experts.count,
    )


def _array(value: Any) -> Floats:
    """Nested lists of numbers as an array, an empty one where they are no such thing."""
    try:
        return np.array(value, float)
    except (TypeError, ValueError):
        return np.array([])


def _rollbacks(lines: list[ledger.Line], events: list[Event]) -> list[Rollback]:
    """Those that the ledger shows by a new attempt, and the one after its last line that no step has followed yet."""
    told = {event["attempt"]: event for event in events if event["event"] == "rollback"}
    rollbacks = []
    for before, line in zip(lines, [*lines[1:], None], strict=False):
        attempt = before.attempt + 1
        event = told.get(attempt)
        if line is not None and line.attempt == attempt:
            target = line.step - 1
        elif line is None and event is not None and event.get("detected") == before.step:
            target = event["target"]
        else:
            continue
        onset, batches = (event.get("onset"), event.get("batches")) if event else (None, None)
        rollbacks.append(Rollback(attempt, target, before.step, onset, batches))
    return rollbacks


def _validations(
    lines: list[ledger.Line], wanted: Bools, events: list[Event], *, with_start: bool = True
) -> Validations:
    """Of the wanted lines; with_start: also that of step 0, before the first line."""
    steps = {(line.attempt, line.step) for line, is_wanted in zip(lines, wanted, strict=True) if is_wanted}
    found = {
        (event["step"], event["attempt"] if event["step"] else 0): event["loss"]
        for event in events
        if event["event"] == "validation"
        and ((event["attempt"], event["step"]) in steps or (with_start and event["step"] == 0))
    }
    ordered = sorted(found.items())
    return Validations(np.array([at for (at, _), _ in ordered], float), np.array([loss for _, loss in ordered], float))
