"""Optimizers as optax transformations whose update takes the step's learning rate.

Each state is a NamedTuple of k (updates applied) and moments shaped and sharded like the parameters.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from palmetto.model.parameters import Parameters
from palmetto.recipe import Adafactor, AdamW
from palmetto.training.reductions import root_mean_square


class OptimizerState(NamedTuple):
    """Updates applied so far, first and second moments in float32."""

    k: jax.Array
    m: Parameters
    v: Parameters


def make(settings: Adafactor | AdamW, stacked: frozenset[str]) -> optax.GradientTransformationExtraArgs:
    """The transformation that a recipe names; `stacked` are the parameters whose leading axis counts layers.

    update(gradients, state, parameters, learning_rate=…) → (what to add to the parameters, new state).
    """
    match settings:
        case Adafactor():
            return adafactor(settings, stacked)
        case AdamW():
            return adamw(settings, stacked)


def _initialize(parameters: Parameters) -> OptimizerState:
    def zeros() -> Parameters:
        return {name: jnp.zeros_like(array) for name, array in parameters.items()}

    return OptimizerState(jnp.zeros((), jnp.int32), zeros(), zeros())


def adafactor(settings: Adafactor, stacked: frozenset[str]) -> optax.GradientTransformationExtraArgs:
    """PaLM's Adafactor without factorization (section 5; Shazeer & Stern, arXiv 1804.04235).

    With k the count from 1, d = k^−0.8 and θ one logical matrix:
        v ← (1 − d)·v + d·(g² + 1e-30),  u = lr · max(1e-3, RMS θ) · g/√v,  m ← 0.9·m + 0.1·u,  θ ← θ − lr²·θ − m.
    """

    def update(
        gradients: Parameters, state: OptimizerState, parameters: Parameters | None = None, *, learning_rate: jax.Array
    ) -> tuple[Parameters, OptimizerState]:
        assert parameters is not None
        k = state.k + 1
        decay = k.astype(jnp.float32) ** -settings.decay_exponent
        updates, m, v = {}, {}, {}
        for name, g in gradients.items():
            theta, is_stacked = parameters[name], name in stacked
            v[name] = (1 - decay) * state.v[name] + decay * (jnp.square(g) + 1e-30)
            direction = g / jnp.sqrt(v[name])
            if settings.update_clip is not None:
                direction /= jnp.maximum(1.0, root_mean_square(direction, is_stacked) / settings.update_clip)
            scale = learning_rate * jnp.maximum(1e-3, root_mean_square(theta, is_stacked))
            m[name] = settings.momentum * state.m[name] + (1 - settings.momentum) * (scale * direction)
            updates[name] = -(jnp.square(learning_rate) * theta + m[name])
        return updates, OptimizerState(k, m, v)

    return optax.GradientTransformationExtraArgs(_initialize, update)


def adamw(settings: AdamW, stacked: frozenset[str]) -> optax.GradientTransformationExtraArgs:
    """optax's Adam with decoupled weight decay on matrices (Loshchilov & Hutter, arXiv 1711.05101)."""
    adam = optax.scale_by_adam(settings.b1, settings.b2, settings.epsilon)

    def update(
        gradients: Parameters, state: OptimizerState, parameters: Parameters | None = None, *, learning_rate: jax.Array
    ) -> tuple[Parameters, OptimizerState]:
        assert parameters is not None
        inner = optax.ScaleByAdamState(state.k, state.m, state.v)
        directions, moments = adam.update(gradients, inner)
        updates = {}
        for name, direction in directions.items():
            is_matrix = parameters[name].ndim - (name in stacked) == 2
            decay: Any = settings.weight_decay * parameters[name] if is_matrix else 0.0
            updates[name] = -learning_rate * (direction + decay)
        return updates, OptimizerState(moments.count, moments.mu, moments.nu)

    return optax.GradientTransformationExtraArgs(_initialize, update)
