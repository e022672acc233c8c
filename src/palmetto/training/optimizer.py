"""Optimizers as optax transformations whose update takes the step's learning rate.

`spreads` says of each parameter how many of its leading axes count logical matrices, 0, 1 (layers) or 2 (layers and
experts), and which devices hold the parts of a matrix. A logical matrix is what a scale is taken of; it may be a
vector, or have more than two axes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from palmetto.model.sums import rounded
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Spread
from palmetto.recipe.training import Adafactor, AdamW
from palmetto.training.step.reductions import mean, root_mean_square


class OptimizerState(NamedTuple):
    """Updates applied so far and moments in float32, under the names of the parameters that have them."""

    k: jax.Array
    """int32 scalar."""
    m: Parameters
    """First moments, shaped like the parameters; without momentum there are none."""
    v: Parameters
    """Second moments, shaped like the parameters, of those that are not factored."""
    rows: Parameters
    """Factored second moments: means over the last axis [..., n, m] → [..., n]."""
    columns: Parameters
    """And over the last but one → [..., m]."""


def make(settings: Adafactor | AdamW, spreads: Mapping[str, Spread]) -> optax.GradientTransformationExtraArgs:
    """The transformation that a recipe names.

    update(gradients, state, parameters, learning_rate=…) → (what to add to the parameters, new state).
    """
    match settings:
        case Adafactor():
            return adafactor(settings, spreads)
        case AdamW():
            return adamw(settings, spreads)


def _is_matrix(array: jax.Array, stack: int) -> bool:
    return array.ndim - stack >= 2


def _blend(a: jax.Array | float, x: jax.Array, b: jax.Array | float, y: jax.Array) -> jax.Array:
    """a·x + b·y, both products rounded: which of them a compiler would fuse with the sum depends on what is around."""
    return rounded(a * x) + rounded(b * y)


def _without_last(spread: Spread) -> Spread:
    """Of a matrix's rows' means."""
    return spread._replace(parts=spread.parts[:-1])


def _zeros_like(parameters: Parameters) -> Parameters:
    return {name: jnp.zeros_like(array) for name, array in parameters.items()}


def adafactor(settings: Adafactor, spreads: Mapping[str, Spread]) -> optax.GradientTransformationExtraArgs:
    """Adafactor (Shazeer & Stern, arXiv 1804.04235), by default as PaLM has it (arXiv 2204.02311, section 5).

    With k the count from 1, θ one logical matrix, d = max(k^−0.8, 1 − decay) and β = momentum:
        v ← (1 − d)·v + d·(g² + 1e-30),  u = g/√v,  u ← u / max(1, RMS(u)/update_clip),
        m ← β·m + (1 − β)·lr·max(1e-3, RMS θ)·u,  θ ← θ − lr²·θ − m.
    Factored (algorithm 4), v is its rows' and columns' means over the last two axes alone, whatever their sizes:
    v = row ⊗ column / mean(row). Vectors keep theirs whole.
    """

    def initialize(parameters: Parameters) -> OptimizerState:
        factored = {
            name: array
            for name, array in parameters.items()
            if settings.factored and _is_matrix(array, spreads[name].stack)
        }
        return OptimizerState(
            k=jnp.zeros((), jnp.int32),
            m=_zeros_like(parameters) if settings.momentum else {},
            v={name: jnp.zeros_like(array) for name, array in parameters.items() if name not in factored},
            rows={name: jnp.zeros_like(array[..., 0]) for name, array in factored.items()},
            columns={name: jnp.zeros_like(array[..., 0, :]) for name, array in factored.items()},
        )

    def update(
        gradients: Parameters, state: OptimizerState, parameters: Parameters | None = None, *, learning_rate: jax.Array
    ) -> tuple[Parameters, OptimizerState]:
        assert parameters is not None
        k = state.k + 1
        decay = k.astype(jnp.float32) ** -settings.decay_exponent
        if settings.decay is not None:
            decay = jnp.maximum(decay, 1 - settings.decay)
        new = OptimizerState(k, {}, {}, {}, {})
        updates = {}
        for name, g in gradients.items():
            theta, spread = parameters[name], spreads[name]
            square = rounded(jnp.square(g)) + 1e-30
            if name in state.v:
                new.v[name] = _blend(1 - decay, state.v[name], decay, square)
                direction = g / jnp.sqrt(new.v[name])
            else:
                row_mean, column_mean = mean(square, -1, spread), mean(square, -2, spread)
                row = new.rows[name] = _blend(1 - decay, state.rows[name], decay, row_mean)
                column = new.columns[name] = _blend(1 - decay, state.columns[name], decay, column_mean)
                # Roots come first: row · column, of fourth powers of gradients, can vanish in float32.
                shrunk = jnp.sqrt(column) / jnp.sqrt(mean(row, -1, _without_last(spread)))[..., None]
                direction = g / jnp.sqrt(row)[..., None] / shrunk[..., None, :]
            if settings.update_clip is not None:
                direction /= jnp.maximum(1.0, root_mean_square(direction, spread) / settings.update_clip)
            scale = learning_rate
            if settings.parameter_scale:
                scale = learning_rate * jnp.maximum(1e-3, root_mean_square(theta, spread))
            step = rounded(scale * direction)
            if settings.momentum:
                step = new.m[name] = _blend(settings.momentum, state.m[name], 1 - settings.momentum, step)
            updates[name] = -(rounded(jnp.square(learning_rate) * theta) + step) if settings.weight_decay else -step
        return updates, new

    return optax.GradientTransformationExtraArgs(initialize, update)


def adamw(settings: AdamW, spreads: Mapping[str, Spread]) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay on matrices (Loshchilov & Hutter, arXiv 1711.05101), to the rounding optax's."""

    def initialize(parameters: Parameters) -> OptimizerState:
        return OptimizerState(jnp.zeros((), jnp.int32), _zeros_like(parameters), _zeros_like(parameters), {}, {})

    def update(
        gradients: Parameters, state: OptimizerState, parameters: Parameters | None = None, *, learning_rate: jax.Array
    ) -> tuple[Parameters, OptimizerState]:
        assert parameters is not None
        new = OptimizerState(state.k + 1, {}, {}, {}, {})
        unbias = [1 - jnp.float32(b) ** new.k.astype(jnp.float32) for b in (settings.b1, settings.b2)]
        updates = {}
        for name, g in gradients.items():
            theta = parameters[name]
            m = new.m[name] = _blend(settings.b1, state.m[name], 1 - settings.b1, g)
            v = new.v[name] = _blend(settings.b2, state.v[name], 1 - settings.b2, rounded(jnp.square(g)))
            direction = (m / unbias[0]) / (jnp.sqrt(v / unbias[1]) + settings.epsilon)
            if _is_matrix(theta, spreads[name].stack):
                direction = direction + rounded(settings.weight_decay * theta)
            updates[name] = rounded(-learning_rate * direction)
        return updates, new

    return optax.GradientTransformationExtraArgs(initialize, update)
