"""Gathers what a ladder's runs have reached, and fits the laws that they follow."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from palmetto.errors import UserError
from palmetto.ladder.plan import Plan, Rung, Target
from palmetto.planning import energy
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import EnergyUse
from palmetto.scaling import intervals, laws
from palmetto.scaling.intervals import Fit, interval
from palmetto.scaling.minimizing import Floats
from palmetto.scaling.optimum import Optimum, optimum
from palmetto.sweeps import outcomes
from palmetto.sweeps.children import Failures
from palmetto.sweeps.outcomes import Outcome
from palmetto.tokens.store import TokenStore
from palmetto.training import condition

_AHEAD = 10
"""The budget that is divided best if no recipe gives one, as a multiple of the compute of the largest rung."""


class Result(NamedTuple):
    """Holds what has become of a rung."""

    rung: Rung
    outcome: Outcome
    energy: EnergyUse | None
    """The energy that the run has used; None before its first summary."""
    rate: float | None
    """The FLOP/s that its training has reached."""
    repeats: float | None
    """The number of times that the run reads its text; None before its tokens are made."""

    @property
    def loss(self) -> float | None:
        """The final validation loss, or None if the run is not finished."""
        return float(self.outcome.validations.loss[-1]) if self.outcome.status == "done" else None


class Fitted(NamedTuple):
    """Holds a law of the finished rungs, or why there is none."""

    runs: int
    fit: Fit | None
    missing: str


class Prediction(NamedTuple):
    """Holds what the ladder says of the target."""

    target: Target
    by: str
    """The law that predicts, in words; empty if none does."""
    loss: float | None
    interval: tuple[float, float] | None
    energy: EnergyUse
    """The energy that its training will use on this machine."""
    reached: float | None
    """The target's own final loss, once it has been trained in its folder."""

    @property
    def miss(self) -> float | None:
        """Returns how far the loss that was reached lies above the predicted one, as a share of the predicted one."""
        return self.reached / self.loss - 1 if self.reached is not None and self.loss is not None else None


class Division(NamedTuple):
    """Holds the best division of a budget of compute, with intervals of 95 %."""

    flops: float
    best: Optimum
    parameters: tuple[float, float] | None
    tokens: tuple[float, float] | None


class Ladder(NamedTuple):
    """Holds the present results of a ladder."""

    name: str
    results: list[Result]
    compute: Fitted
    """Loss over compute, a·C^b + c."""
    both: Fitted
    """Loss over parameters and tokens, E + A/N^α + B/D^β."""
    division: Division | None
    prediction: Prediction | None


def gather(planned: Plan, failures: Failures) -> Ladder:
    """Returns the present results of a ladder."""
    results = [_result(rung, failures) for rung in planned.rungs]
    return combine(planned.recipe.name, results, planned.target)


def combine(name: str, results: list[Result], target: Target | None) -> Ladder:
    """Returns what the results of the rungs, cheapest first, say together."""
    done = [(result.rung.cost, result.loss) for result in results if result.loss is not None]
    losses = np.array([loss for _, loss in done])
    compute = _fitted(np.array([[cost.flops] for cost, _ in done]).reshape(-1, 1), losses, "loss over compute")
    x = np.array([[cost.parameters, cost.tokens] for cost, _ in done], float).reshape(-1, 2)
    both = _fitted(x, losses, "loss over parameters and tokens")
    flops = target.cost.flops if target else _AHEAD * results[-1].rung.cost.flops
    prediction = _predict(target, compute, both, results) if target else None
    return Ladder(name, results, compute, both, _divide(both, flops), prediction)


def _result(rung: Rung, failures: Failures) -> Result:
    outcome, run = outcomes.of(rung.member, failures), rung.member.run
    summary = condition.summary(run) if outcome.status == "done" else None
    rate = summary["tokens_per_second"] * rung.cost.flops / rung.cost.tokens if summary else None
    held = TokenStore.open(run.train_store).windows if run.train_store.exists() else None
    repeats = rung.cost.tokens / (held * rung.member.recipe.tokens.sequence_length) if held else None
    return Result(rung, outcome, summary.get("energy") if summary else None, rate, repeats)


def _fitted(x: Floats, losses: Floats, name: str) -> Fitted:
    try:
        laws.check(x, name)
    except UserError as error:
        return Fitted(len(losses), None, str(error))
    return Fitted(len(losses), intervals.fit(x, losses), "")


def _predict(target: Target, compute: Fitted, both: Fitted, results: Sequence[Result]) -> Prediction:
    """Returns the prediction by parameters and tokens, or if these do not determine a law, by compute alone."""
    by, loss, within = "", None, None
    if both.fit:
        by = "parameters and tokens"
        loss, within = both.fit.predict(np.array([target.cost.parameters, target.cost.tokens], float))
    elif compute.fit:
        by = "compute"
        loss, within = compute.fit.predict(np.array([target.cost.flops]))
    rate = next((result.rate for result in reversed(results) if result.rate), None)
    used = energy.here(target.member.recipe, target.cost.flops, rate)
    return Prediction(target, by, loss, within, used, _reached(target, results))


def _reached(target: Target, results: Sequence[Result]) -> float | None:
    """Returns the target's own loss, or None before it is trained; raises UserError if it has read other tokens."""
    run, rung = target.member.run, results[0].rung.member.run
    own = outcomes.of(target.member, {})
    if own.status != "done":
        return None
    if rung.train_store.exists() and _tokens(run) != _tokens(rung):
        raise UserError(f"{run.path}: trained on other tokens than {rung.path}; expected the same text and seed")
    return float(own.validations.loss[-1])


def _tokens(run: RunDirectory) -> str:
    return TokenStore.open(run.train_store).checksum


def _divide(both: Fitted, flops: float) -> Division | None:
    if both.fit is None:
        return None
    best = optimum(both.fit.law, flops)
    if both.fit.laws is None:
        return Division(flops, best, None, None)
    drawn = optimum(both.fit.laws, flops)
    return Division(flops, best, interval(drawn.parameters), interval(drawn.tokens))
