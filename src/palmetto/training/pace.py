"""Measures how long a recipe's steps take on this machine."""

import statistics
import time
from typing import NamedTuple

from palmetto.runs.directory import RunDirectory
from palmetto.tokens.store import TokenStore
from palmetto.training.step.execution import Execution
from palmetto.training.step.validation import make_validation

_MEASURED = 3.0
"""The seconds for which steps are measured, after the first."""


class Pace(NamedTuple):
    """Holds how long the parts of a training take, in seconds."""

    start: float
    """The seconds before the second step: drawing the state, compiling, the first step, the first validation."""
    step: float
    """The seconds of a step with its share of the validations."""


def measure(execution: Execution, run: RunDirectory) -> Pace:
    """Returns the pace of steps with the largest batch that the ramp reaches in the text, which has at least one step.

    The steps and validations are not kept.
    """
    training = execution.recipe.training
    first = min(max(training.batch_ramp, key=lambda phase: phase[1])[0] + 1, execution.order.steps_that_fit())
    begun = time.perf_counter()
    state, *_ = execution.take(execution.initial_state(), first, 0, ())
    start = time.perf_counter() - begun
    seconds: list[float] = []
    while sum(seconds) < _MEASURED:
        begun = time.perf_counter()
        state, *_ = execution.take(state, first, 0, ())
        seconds.append(time.perf_counter() - begun)
    store = TokenStore.open(run.validation_store, vocabulary_digest=execution.vocabulary.digest)
    validate = make_validation(execution.recipe, execution.tuning, execution.sharding, store, execution.vocabulary.eod)
    validations: list[float] = []
    for _ in range(2):
        begun = time.perf_counter()
        validate(state.parameters)
        validations.append(time.perf_counter() - begun)
    return Pace(start + validations[0], statistics.median(seconds) + validations[1] / training.evaluate_every)
