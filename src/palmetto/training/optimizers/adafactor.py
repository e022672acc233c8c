"""Adafactor (Shazeer & Stern, arXiv 1804.04235), Adam with the step scaled by each matrix's RMS."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from palmetto.recipe.optimizers import Array, Moment, Optimizer, Parameter
from palmetto.recipe.section import Rate

if TYPE_CHECKING:
    from palmetto.parallel.sharding import Spread


class Adafactor(Optimizer):
    """Updates parameters by Adafactor, by default without factorization as in PaLM (arXiv 2204.02311, section 5).

    GLaM uses momentum 0, decay 0.99, update_clip 1, factored, no weight decay. With k the number of the update from 1,
    θ one logical matrix, d = max(k^−0.8, 1 − decay) and β = momentum:
        v ← (1 − d)·v + d·(g² + 1e-30),  u = g/√v,  u ← u / max(1, RMS(u)/update_clip),
        m ← β·m + (1 − β)·lr·max(1e-3, RMS θ)·u,  θ ← θ − lr²·θ − m.
    If factored (algorithm 4), v is kept as its row and column means over the last two axes, whatever their sizes:
    v = row ⊗ column / mean(row). The second moment of vectors is not factored.
    """

    name: Literal["adafactor"] = "adafactor"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The upper bound of β2; None lets it approach 1."""
    decay_exponent: Rate = 0.8
    """β2 at the k-th applied update is 1 − k^−decay_exponent."""
    factored: bool = False
    """True if the second moment of a matrix is kept as its row and column means alone."""
    parameter_scale: bool = True
    """True if the step of a matrix is scaled by its RMS; without it, this is Adam with a growing β2."""
    weight_decay: bool = True
    """True if PaLM's weight decay is applied: p ← p − lr²·p."""
    update_clip: Rate | None = None
    """The largest RMS of each matrix's g/√v; None, as in PaLM, does not clip it."""

    def moments(self, of: Parameter) -> dict[str, Moment]:
        """Returns the declarations of m, if there is momentum, and of v.

        For a factored matrix [..., n, m], v is `rows` [..., n], its means over the last axis, and `columns` [..., m],
        its means over the last but one.
        """
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
        """Returns the change of a parameter and its new moments."""
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
            # Roots are taken first: row · column, of the order of g⁴, can underflow in float32.
            shrunk = jnp.sqrt(column) / jnp.sqrt(mean(row, -1, _of_rows(spread)))[..., None]
            direction = gradient / jnp.sqrt(row)[..., None] / shrunk[..., None, :]
        if self.update_clip is not None:
            direction /= jnp.maximum(1.0, root_mean_square(direction, spread) / self.update_clip)
        step = rounded(self._scale(parameter, learning_rate, spread) * direction)
        if self.momentum:
            step = new["m"] = blend(self.momentum, moments["m"], 1 - self.momentum, step)
        if self.weight_decay:
            return -(rounded(jnp.square(learning_rate) * parameter) + step), new
        return -step, new

    def step(
        self,
        gradient: Array,
        parameter: Array,
        moments: Mapping[str, Array],
        *,
        coefficients: Array,
        learning_rate: Array,
        spread: "Spread",
        finite: Array,
        native: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Returns a parameter and its moments after the update.

        A kernel computes it on a CPU if there are m and v and no clipping.
        """
        of_all = {"coefficients": coefficients, "learning_rate": learning_rate, "spread": spread, "finite": finite}
        if not native or moments.keys() != {"m", "v"} or self.update_clip is not None:
            return super().step(gradient, parameter, moments, **of_all, native=False)
        import jax.numpy as jnp

        from palmetto.native.optimizers import adafactor

        stack = gradient.shape[: spread.stack]
        scale = self._scale(parameter, learning_rate, spread)
        new, m, v = adafactor(
            gradient,
            parameter,
            moments["m"],
            moments["v"],
            scales=jnp.broadcast_to(scale, (*stack, *[1] * (gradient.ndim - len(stack)))),
            share=coefficients,
            momentum=self.momentum,
            decay=jnp.square(learning_rate) if self.weight_decay else 0.0,
            finite=finite,
        )
        return new, {"m": m, "v": v}

    def _scale(self, parameter: Array, learning_rate: Array, spread: "Spread") -> Array:
        """Returns the factor of the step, a scalar or one for each logical matrix, which broadcasts to `parameter`."""
        import jax.numpy as jnp

        from palmetto.training.step.reductions import root_mean_square

        if not self.parameter_scale:
            return learning_rate
        return learning_rate * jnp.maximum(1e-3, root_mean_square(parameter, spread))


def _of_rows(spread: "Spread") -> "Spread":
    """Returns the distribution of the means of a matrix's rows."""
    return spread._replace(parts=spread.parts[:-1])
