"""Reads the files of a run into arrays and values for the report.

The ledger decides which steps were taken and which of them still count (the live path). Events, metrics and the summary
are matched with it, as far as they exist.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.host import environment
from palmetto.recipe import Recipe
from palmetto.recipe.objectives import PreferencesObjective
from palmetto.report.curves import Floats
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import Event, Measured, Summary, read_environment, read_events, read_metrics, read_summary
from palmetto.training import ledger, origin

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


class Rollback(NamedTuple):
    """A return to an earlier step. Onset and batches are None if the event was lost because the run was killed."""

    attempt: int
    """The number of the attempt that begins; the first rollback begins attempt 1."""
    target: int
    """The step after which training continues."""
    detected: int
    """The last step before the rollback."""
    onset: int | None
    """The first step of the spike."""
    batches: int | None
    """The number of batches that are skipped after the target."""


class Validations(NamedTuple):
    """Validation losses in nats a token, by step. Of several measurements of a step the last counts."""

    step: Floats
    loss: Floats


class Routing(NamedTuple):
    """The metrics of the routers of a model with experts.

    All but `measured` and `load` have a value for each ledger line, the mean over the layers with experts, or NaN if
    metrics.jsonl lacks it.
    """

    dropped: Floats
    """The share of assignments that were dropped because their expert was full."""
    entropy: Floats
    """The entropy of the gate in nats."""
    balance: Floats
    """The load-balance loss, 1 if all experts have the same share."""
    z: Floats
    """The mean log² of the gate's normalizer."""
    measured: Ints
    """The ledger lines, from 0, for which loads were measured, shape [N]."""
    load: Floats
    """Each expert's assignments as a multiple of an even share, shape [N, layers with experts, E]."""


@dataclass(frozen=True)
class Record:
    """The present contents of a run's files.

    Arrays have one value for each ledger line, in the order of writing, with those of rolled-back attempts.
    """

    recipe: Recipe
    recipe_text: str
    step: Floats
    attempt: Floats
    live: Bools
    """True if the step is on the live path, that is, no rollback went back before it."""
    applied: Bools
    """False if the update was skipped because of a NaN or Inf."""
    loss: Floats
    """The loss in nats a token."""
    grad_norm: Floats
    parameter_norm: Floats
    z: Floats
    """The mean log² Z."""
    learning_rate: Floats
    sequences: Floats
    """The number of sequences in the batch."""
    loss_scale: Floats
    """The factor of the loss, NaN if activations are not float16."""
    seconds: Floats
    """The time of the step. This and the next two are NaN if metrics.jsonl lacks the step."""
    tokens_per_second: Floats
    mfu: Floats
    routing: Routing | None
    """The routers' metrics, or None for a model without experts."""
    validations: Validations
    """The validation losses on the live path."""
    dead_validations: Validations
    """The validation losses on rolled-back attempts."""
    evaluations: dict[int, dict[str, Any]]
    """The scores of checkpoints of the live path, by step and task."""
    rollbacks: list[Rollback]
    events: list[Event]
    last_digest: tuple[int, str] | None
    """The newest step of the live path for which the ledger has a digest of the parameters, and the digest."""
    summary: Summary | None
    """The content of summary.json, which may be that of an earlier step."""
    samples: str | None
    machine: dict[str, Any] | None
    """The content of environment.json, the environment in which the run began."""

    @property
    def last_step(self) -> int:
        """The last step of the live path, or 0 before the first."""
        return int(self.step[self.live].max(initial=0))

    @property
    def closing(self) -> Summary | None:
        """The summary if it is that of the last step, and otherwise None."""
        return self.summary if self.summary and self.summary["steps"] == self.last_step else None

    @property
    def tokens(self) -> int:
        """The number of tokens trained on along the live path."""
        return int(self.sequences[self.live].sum()) * self.recipe.tokens.sequence_length

    @property
    def skipped(self) -> Bools:
        """Returns whether the update was skipped because of a NaN or Inf, and not of an overflow of the loss scale."""
        mended: Bools = (self.loss_scale > 1) & np.isfinite(self.loss)
        return ~self.applied & ~mended

    @property
    def skipped_steps(self) -> int:
        """The number of skipped steps on all attempts."""
        return int(self.skipped.sum())

    @property
    def unigram_entropy(self) -> float | None:
        """The unigram entropy of the validation tokens in nats a token, the same in every summary of the run.

        None before the first summary, and for preferences, whose loss is of pairs and not of tokens.
        """
        of_pairs = isinstance(self.recipe.training.objective, PreferencesObjective)
        return self.summary["unigram_entropy"] if self.summary and not of_pairs else None

    @cached_property
    def parameters(self) -> int:
        """The number of parameters."""
        if self.summary:
            return int(self.summary["parameters"])
        environment.prepare(self.recipe.training.threads)
        from palmetto.model.weights import count  # imports JAX, which the report of a finished run does not need

        return count(self.recipe.model, self.recipe.model_vocabulary)

    @property
    def speed(self) -> tuple[float, float] | None:
        """Tokens a second and MFU: those of the summary, or else the medians over the live path."""
        if self.closing:
            return self.closing["tokens_per_second"], self.closing["mfu"]
        measured = self.live & np.isfinite(self.tokens_per_second)
        if not measured.any():
            return None
        return float(np.median(self.tokens_per_second[measured])), float(np.median(self.mfu[measured]))


def read(run: RunDirectory) -> Record:
    """Reads a run, which may be unfinished or in training. Missing files give None or empty values.

    Raises UserError if a file was altered; for the ledger this is LedgerAltered, which names the step.
    """
    origin.check_recipe(run, run.newest_manifest)
    lines, _ = ledger.read(run.ledger)
    events = read_events(run.events)
    rollbacks = _rollbacks(lines, events)
    step, attempt = _floats(lines, "step"), _floats(lines, "attempt")
    live = np.ones(len(lines), bool)
    for rollback in rollbacks:
        live &= (attempt >= rollback.attempt) | (step <= rollback.target)
    # A step that was taken again after a kill has two lines in the metrics; the later one counts.
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
        evaluations=_evaluations(lines, live, events),
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
    """Returns the routers' metrics. A load whose shape does not fit the recipe is ignored."""
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
    """Returns nested lists of numbers as an array, or an empty array if they are anything else."""
    try:
        return np.array(value, float)
    except (TypeError, ValueError):
        return np.array([])


def _rollbacks(lines: list[ledger.Line], events: list[Event]) -> list[Rollback]:
    """Returns the rollbacks that the ledger shows by a new attempt, and one after its last line, which only an event
    shows."""
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
    """Returns the validations of the wanted lines. with_start: whether to include that of step 0."""
    steps = {(line.attempt, line.step) for line, is_wanted in zip(lines, wanted, strict=True) if is_wanted}
    found = {
        (event["step"], event["attempt"] if event["step"] else 0): event["loss"]
        for event in events
        if event["event"] == "validation"
        and ((event["attempt"], event["step"]) in steps or (with_start and event["step"] == 0))
    }
    ordered = sorted(found.items())
    return Validations(np.array([at for (at, _), _ in ordered], float), np.array([loss for _, loss in ordered], float))


def _evaluations(lines: list[ledger.Line], live: Bools, events: list[Event]) -> dict[int, dict[str, Any]]:
    """Returns the scores of the steps of the live path that have some, ascending."""
    steps = {(line.attempt, line.step) for line, counts in zip(lines, live, strict=True) if counts}
    told = [event for event in events if event["event"] == "evaluation"]
    found = {event["step"]: event["scores"] for event in told if (event["attempt"], event["step"]) in steps}
    return dict(sorted(found.items()))
