"""Adafactor (Shazeer & Stern, arXiv 1804.04235), by default as PaLM has it (arXiv 2204.02311, section 5)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from palmetto.model.sums import rounded
from palmetto.model.weights import Specification
from palmetto.parallel.sharding import Spread
from palmetto.recipe.optimizers import Adafactor
from palmetto.training.optimizers.protocol import Moment, Moments, blend
from palmetto.training.step.reductions import mean, root_mean_square


@dataclass(frozen=True)
class AdafactorRule:
    """Scales the step of each logical matrix θ by its root mean square.

    With k the count from 1, d = max(k^−0.8, 1 − decay) and β = momentum:
        v ← (1 − d)·v + d·(g² + 1e-30),  u = g/√v,  u ← u / max(1, RMS(u)/update_clip),
        m ← β·m + (1 − β)·lr·max(1e-3, RMS θ)·u,  θ ← θ − lr²·θ − m.
    Factored (algorithm 4), v is its rows' and columns' means over the last two axes alone, whatever their sizes:
    v = row ⊗ column / mean(row). Vectors keep theirs whole.
    """

    settings: Adafactor

    def moments(self, of: Specification) -> dict[str, Moment]:
        """Declares m, if there is momentum, and v or, for a matrix [..., n, m] that is factored, its means over the
        last axis, `rows` [..., n], and over the last but one, `columns` [..., m]."""
        whole = Moment(of.shape, of.axes)
        declared = {"m": whole} if self.settings.momentum else {}
        if not self.settings.factored or len(of.shape) - of.stack < 2:
            return declared | {"v": whole}
        rows = Moment(of.shape[:-1], of.axes[:-1])
        columns = Moment((*of.shape[:-2], of.shape[-1]), (*of.axes[:-2], of.axes[-1]))
        return declared | {"rows": rows, "columns": columns}

    def update(
        self,
        gradient: jax.Array,
        parameter: jax.Array,
        moments: Moments,
        *,
        k: jax.Array,
        learning_rate: jax.Array,
        spread: Spread,
    ) -> tuple[jax.Array, Moments]:
        """Returns what is added to a parameter, and its new moments."""
        settings, new = self.settings, dict[str, jax.Array]()
        decay = k.astype(jnp.float32) ** -settings.decay_exponent
        if settings.decay is not None:
            decay = jnp.maximum(decay, 1 - settings.decay)
        square = rounded(jnp.square(gradient)) + 1e-30
        if "v" in moments:
            new["v"] = blend(1 - decay, moments["v"], decay, square)
            direction = gradient / jnp.sqrt(new["v"])
        else:
            row_mean, column_mean = mean(square, -1, spread), mean(square, -2, spread)
            row = new["rows"] = blend(1 - decay, moments["rows"], decay, row_mean)
            column = new["columns"] = blend(1 - decay, moments["columns"], decay, column_mean)
            # Roots come first: row · column, of fourth powers of gradients, can vanish in float32.
            shrunk = jnp.sqrt(column) / jnp.sqrt(mean(row, -1, _of_rows(spread)))[..., None]
            direction = gradient / jnp.sqrt(row)[..., None] / shrunk[..., None, :]
        if settings.update_clip is not None:
            direction /= jnp.maximum(1.0, root_mean_square(direction, spread) / settings.update_clip)
        scale = learning_rate
        if settings.parameter_scale:
            scale = learning_rate * jnp.maximum(1e-3, root_mean_square(parameter, spread))
        step = rounded(scale * direction)
        if settings.momentum:
            step = new["m"] = blend(settings.momentum, moments["m"], 1 - settings.momentum, step)
        if settings.weight_decay:
            return -(rounded(jnp.square(learning_rate) * parameter) + step), new
        return -step, new


def _of_rows(spread: Spread) -> Spread:
    """Returns how the means of a matrix's rows lie."""
    return spread._replace(parts=spread.parts[:-1])
