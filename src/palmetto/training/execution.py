"""Executes any step of a run: a function of (recipe, tokens, step) that training and verifying share."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.model import layout
from palmetto.model.parameters import unstack
from palmetto.recipe import Recipe
from palmetto.tokens.order import Order
from palmetto.tokens.store import TokenStore
from palmetto.training.digest import digest
from palmetto.training.ledger import Line, batch_digest
from palmetto.training.schedule import learning_rate
from palmetto.training.spikes import History, Observation, Skips
from palmetto.training.step import State, initial_state, make_step, stacked_names


class Execution:
    """A recipe over its training tokens, ready to take steps."""

    def __init__(self, recipe: Recipe, train_store: Path, vocabulary_digest: str) -> None:
        self.recipe = recipe
        self.store = TokenStore.open(train_store, vocabulary_digest=vocabulary_digest)
        training = recipe.training
        self.order = Order(self.store.windows, training.batch_stages, training.seed, training.epochs)
        self.stacked = stacked_names(recipe)
        self.layout = layout.for_platform(jax.default_backend())
        self._step = make_step(recipe, self.layout)
        self._unstack = jax.jit(lambda parameters: unstack(parameters, self.stacked))

    def initial_state(self) -> State:
        """The state before the first step."""
        return initial_state(self.recipe)

    def history(self) -> History:
        """An empty history for this recipe."""
        before = self.order.ramp.sequences_before
        return History(self.recipe.training.spikes, lambda a, b: before(b + 1) - before(a + 1))

    def take(self, state: State, step: int, attempt: int, skips: Skips) -> tuple[State, Line]:
        """Runs step `step` (from 1) on `state`, which is donated; returns the new state and the ledger's line."""
        windows = self.store.read(self.order.sequence_numbers(step, skips))
        rate = np.float32(learning_rate(self.recipe.training, step))
        leaves = windows.reshape(-1, self.recipe.training.micro_batch, windows.shape[1])
        state, metrics = self._step(state, jnp.asarray(leaves), jnp.asarray(rate))
        values = jax.device_get(metrics)
        line = Line(
            step=step,
            attempt=attempt,
            loss=float(values.loss),
            grad_norm=float(values.grad_norm),
            parameter_norm=float(values.parameter_norm),
            z=float(values.z),
            learning_rate=float(rate),
            sequences=len(windows),
            batch=batch_digest(windows),
            applied=bool(values.finite),
        )
        return state, line

    def parameters_digest(self, state: State) -> str:
        """The digest of a state's parameters."""
        return digest(self._unstack(state.parameters))


def observe(line: Line) -> Observation:
    """What the spike detector sees of a line."""
    return Observation(line.step, line.loss, line.grad_norm, line.applied)
