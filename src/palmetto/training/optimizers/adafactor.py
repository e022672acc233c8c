"""Adafactor (Shazeer & Stern, arXiv 1804.04235): Adam with the step scaled by each matrix's RMS."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from palmetto.recipe.optimizers import Array, Moment, Optimizer, Parameter
from palmetto.recipe.section import Rate

if TYPE_CHECKING:
    from palmetto.parallel.sharding import Spread


class Adafactor(Optimizer):
    """Adafactor with PaLM's settings (arXiv 2204.02311, section 5) as defaults: without factorization.

    GLaM's are momentum 0, decay 0.99, update_clip 1, factored, no weight decay. With k the count from 1, θ one logical
    matrix, d = max(k^−0.8, 1 − decay) and β = momentum:
        v ← (1 − d)·v + d·(g² + 1e-30),  u = g/√v,  u ← u / max(1, RMS(u)/update_clip),
        m ← β·m + (1 − β)·lr·max(1e-3, RMS θ)·u,  θ ← θ − lr²·θ − m.
    Factored (algorithm 4), v is its rows' and columns' means over the last two axes alone, whatever their sizes:
    v = row ⊗ column / mean(row). Vectors keep theirs whole.
    """

    name: Literal["adafactor"] = "adafactor"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The most that β2 grows to; None: it goes on towards 1."""
    decay_exponent: Rate = 0.8
    """β2 at the k-th applied update is 1 − k^−decay_exponent."""
    factored: bool = False
    """The second moment of a matrix as its rows' and columns' means alone."""
    parameter_scale: bool = True
    """The step of a matrix is scaled by its RMS; without, this is Adam with a growing β2."""
    weight_decay: bool = True
    """PaLM's: p ← p − lr²·p."""
    update_clip: Rate | None = None
    """Clips the RMS of each matrix's g/√v; PaLM names none, so it is off."""

    def moments(self, of: Parameter) -> dict[str, Moment]:
        """Declares m, if there is momentum, and v or, for a matrix [..., n, m] that is factored, its means over the
        last axis, `rows` [..., n], and over the last but one, `columns` [..., m]."""
        whole = Moment(of.shape, of.axes)
        declared = {"m": whole} if self.momentum else {}
        if not self.factored or len(of.shape) - of.stack < 2:
            return declared | {"v": whole}
        rows = Moment(of.shape[:-1], of.axes[:-1])
        columns = Moment((*of.shape[:-2], of.shape[-1]), (*of.axes[:-2], of.axes[-1]))
        return declared | {"rows": rows, "columns": columns}

    def coefficients(self, k: Array) -> Array:
        """Returns d, the share of this step in the second moments."""
        import jax.numpy as jnp

        decay = k.astype(jnp.float32) ** -self.decay_exponent
        return decay if self.decay is None else jnp.maximum(decay, 1 - self.decay)

    def update(
        self,
        gradient: Array,
        parameter: Array,
        moments: Mapping[str, Array],
        *,
        coefficients: Array,
        learning_rate: Array,
        spread: "Spread",
    ) -> tuple[Array, dict[str, Array]]:
        """Returns what is added to a parameter, and its new moments."""
        import jax.numpy as jnp

        from palmetto.model.sums import rounded
        from palmetto.training.optimization import blend
        from palmetto.training.step.reductions import mean, root_mean_square

        new = dict[str, Array]()
        decay, square = coefficients, rounded(jnp.square(gradient)) + 1e-30
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
        if self.update_clip is not None:
            direction /= jnp.maximum(1.0, root_mean_square(direction, spread) / self.update_clip)
        scale = learning_rate
        if self.parameter_scale:
            scale = learning_rate * jnp.maximum(1e-3, root_mean_square(parameter, spread))
        step = rounded(scale * direction)
        if self.momentum:
            step = new["m"] = blend(self.momentum, moments["m"], 1 - self.momentum, step)
        if self.weight_decay:
            return -(rounded(jnp.square(learning_rate) * parameter) + step), new
        return -step, new


def _of_rows(spread: "Spread") -> "Spread":
    """Returns how the means of a matrix's rows lie."""
    return spread._replace(parts=spread.parts[:-1])
