"""Execution of any step of a run, as a function of (recipe, tokens, step), for both training and verification."""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.errors import UserError
from palmetto.model import tuning
from palmetto.model.experts.router import Routing
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import unstack
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe.objectives import CausalObjective, OnExamples, PreferencesObjective, side_by_side
from palmetto.tokens.dropout_keys import dropout_keys
from palmetto.tokens.marks import Marked, starts_of, unmark
from palmetto.tokens.objectives import make_examples
from palmetto.tokens.order import Order
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training.beginning import initial_state
from palmetto.training.digest import Digest, tree
from palmetto.training.learning_rate import learning_rate
from palmetto.training.ledger import Line, batch_digest
from palmetto.training.spikes import History, Observation, Skips
from palmetto.training.step import state as states
from palmetto.training.step.loss import Batch
from palmetto.training.step.loss_scale import LEAST
from palmetto.training.step.reference import make_margins
from palmetto.training.step.state import State
from palmetto.training.step.update import Metrics, make_step


class Inputs(NamedTuple):
    """Holds the inputs of a step besides the state, as NumPy arrays."""

    windows: npt.NDArray[np.int32]
    """Windows of tokens as they are stored, shape [B, T + 1]."""
    leaves: Batch
    """Examples by leaf, shape [leaves, micro_batch, M + 1]."""
    rate: np.float32


class Execution:
    """Takes the steps of a recipe on its training tokens."""

    def __init__(self, recipe: Recipe, train_store: Path, vocabulary: Vocabulary) -> None:
        """Compiles nothing yet; raises UserError if the mesh of the recipe does not fit the devices."""
        self.recipe = recipe
        self.vocabulary = vocabulary
        self.store = TokenStore.open(train_store, vocabulary_digest=vocabulary.digest)
        training = recipe.training
        self.order = Order(self.store.windows, training.batch_ramp, training.seed, training.epochs)
        self.table = parameter_table(recipe)
        self.tuning = tuning.for_platform(jax.default_backend(), recipe.mesh)
        self.sharding = Sharding(recipe)
        there = jax.device_count()
        if there < self.sharding.devices or (jax.process_count() > 1 and there != self.sharding.devices):
            sizes = " · ".join(f"mesh.{axis}={size}" for axis, size in self.sharding.sizes.items() if size > 1)
            raise UserError(f"{sizes}: {self.sharding.devices} devices, where there are {there}")
        self._step = make_step(recipe, self.tuning, self.sharding)
        self._unstack = jax.jit(lambda parameters: unstack(parameters, self.table))
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="digest")

    @cached_property
    def reference(self) -> Callable[[Batch], npt.NDArray[np.float32]] | None:
        """The margins of rows by the model that training begins with, which preferences are relative to; else None."""
        if not isinstance(self.recipe.training.objective, PreferencesObjective):
            return None
        of_rows = make_margins(self.recipe, self.tuning, self.sharding)
        return partial(of_rows, Execution.initial_state(self).parameters)

    def initial_state(self) -> State:
        """Returns the state before the first step."""
        return initial_state(self.recipe, self.sharding)

    def shapes(self) -> State:
        """Returns the shapes, types and shardings of the state, without its arrays."""
        return states.shapes(self.recipe, self.sharding)

    def places(self) -> Any:
        """Returns a State of the shardings that the state has between steps."""
        return states.places(self.recipe, self.sharding)

    def history(self) -> History:
        """Returns an empty history for this recipe."""
        before = self.order.ramp.sequences_before
        return History(self.recipe.training.spikes, lambda a, b: before(b + 1) - before(a + 1))

    def take(self, state: State, step: int, attempt: int, skips: Skips) -> tuple[State, Line, Routing | None]:
        """Takes step `step`, counted from 1, on `state`, which is donated.

        Returns the new state, the ledger line and, for a model with experts, the statistics of its routers.
        """
        inputs = self.inputs(step, skips)
        leaves, rate = self.sharding.everywhere((inputs.leaves, jnp.asarray(inputs.rate)))
        state, metrics = self._step(state, leaves, rate)
        return state, *self.line(step, attempt, inputs, metrics)

    def inputs(self, step: int, skips: Skips) -> Inputs:
        """Returns the inputs of a step besides the state."""
        windows = self.store.read_stored(self.order.sequence_numbers(step, skips))
        batch = make_batch(self.recipe, windows, self.order.positions(step, skips), self.vocabulary.eod)
        if self.recipe.training.dropout is not None:
            keys = dropout_keys(self.recipe.training.seed, step, self.order.positions(step, skips))
            batch = batch._replace(keys=keys)  # type: ignore[arg-type]
        if self.reference is not None:
            batch = batch._replace(reference=self.reference(batch))  # type: ignore[arg-type]
        micro_batch = self.recipe.training.micro_batch
        leaves = jax.tree.map(lambda array: array.reshape(-1, micro_batch, *array.shape[1:]), batch)
        return Inputs(windows, leaves, np.float32(learning_rate(self.recipe.training, step)))

    def line(self, step: int, attempt: int, inputs: Inputs, metrics: Metrics) -> tuple[Line, Routing | None]:
        """Returns the ledger line of a step and the statistics of the routers."""
        values = jax.device_get(metrics)
        line = Line(
            step=step,
            attempt=attempt,
            loss=float(values.loss),
            grad_norm=float(values.grad_norm),
            parameter_norm=float(values.parameter_norm),
            z=float(values.z),
            learning_rate=float(inputs.rate),
            sequences=len(inputs.windows),
            batch=batch_digest(inputs.windows),
            applied=bool(values.finite),
            loss_scale=None if values.loss_scale is None else float(values.loss_scale),
        )
        return line, values.routing

    def at_hand(self, state: State) -> State:
        """Returns the state with its arrays in this process, where another execution may hold them elsewhere."""
        return state

    def parameters_digest(self, state: State, form: Digest = tree) -> Future[str]:
        """Returns a future of the digest of a state's parameters, which a background thread computes.

        The state may be donated before the digest is ready. With several processes, all must call this at the same
        point, and the call blocks.
        """
        matrices = self._unstack(state.parameters)
        if jax.process_count() == 1:
            return self._hasher.submit(form, matrices)
        digest = Future[str]()
        digest.set_result(form(matrices))  # uses collectives, which must stay on one thread
        return digest


def make_batch(recipe: Recipe, windows: npt.NDArray[np.int32], positions: npt.NDArray[np.int64], eod: int) -> Batch:
    """Returns the examples that the recipe's objective makes of stored windows [B, T + 1], as NumPy arrays.

    `positions` [B] are the positions of the windows in the order of the run.
    """
    training = recipe.training
    if isinstance(training.objective, CausalObjective):
        return Batch(windows)  # type: ignore[arg-type]
    if isinstance(training.objective, OnExamples):
        return _of_marked(unmark(windows), training.objective)
    examples = make_examples(
        training.objective,
        windows,
        positions,
        seed=training.seed,
        vocabulary_size=recipe.tokens.vocabulary_size,
        eod=eod,
    )
    return Batch(*examples)  # type: ignore[arg-type]


def _of_marked(marked: Marked, objective: OnExamples) -> Batch:
    """Returns the examples of windows with marks."""
    scored = marked.scored & (np.arange(marked.scored.shape[-1]) > 0)
    return Batch(marked.tokens, scored, starts=starts_of(marked.begins[:, :-1]) if side_by_side(objective) else None)  # type: ignore[arg-type]


def observe(line: Line) -> Observation:
    """Returns what the spike detector sees of a ledger line.

    A non-finite gradient counts as an overflow as long as the loss scale can still be halved.
    """
    overflow = not line.applied and line.loss_scale is not None and line.loss_scale > LEAST and math.isfinite(line.loss)
    return Observation(line.step, line.loss, line.grad_norm, line.applied, overflow)
