"""Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from palmetto.recipe.optimizers import Array, Moment, Optimizer, Parameter
from palmetto.recipe.section import Coefficient, Rate

if TYPE_CHECKING:
    from palmetto.parallel.sharding import Spread


class AdamW(Optimizer):
    """Updates parameters by AdamW, as optax does up to rounding; only matrices decay, not norm scales and biases."""

    name: Literal["adamw"] = "adamw"
    b1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    b2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    epsilon: Rate = 1e-8
    weight_decay: Coefficient = 0.1

    def moments(self, of: Parameter) -> dict[str, Moment]:
        """Returns the declarations of m and v, the means of gradients and of their squares, shaped as the parameter."""
        whole = Moment(of.shape, of.axes)
        return {"m": whole, "v": whole}

    def coefficients(self, k: Array) -> tuple[Array, Array]:
        """Returns what makes up for m and v having begun at zero: 1 − b1^k and 1 − b2^k."""
        import jax.numpy as jnp

        b1, b2 = (1 - jnp.float32(b) ** k.astype(jnp.float32) for b in (self.b1, self.b2))
        return b1, b2

    def update(
        self,
        gradient: Array,
        parameter: Array,
        moments: Mapping[str, Array],
        *,
        coefficients: tuple[Array, Array],
        learning_rate: Array,
        spread: "Spread",
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the change of a parameter and its new moments."""
        import jax.numpy as jnp

        from palmetto.model.sums import rounded
        from palmetto.training.optimization import blend

        b1, b2 = self.b1, self.b2
        m = blend(b1, moments["m"], 1 - b1, gradient)
        v = blend(b2, moments["v"], 1 - b2, rounded(jnp.square(gradient)))
        direction = (m / coefficients[0]) / (jnp.sqrt(v / coefficients[1]) + self.epsilon)
        if parameter.ndim - spread.stack >= 2:
            direction = direction + rounded(self.weight_decay * parameter)
        return rounded(-learning_rate * direction), {"m": m, "v": v}

    def step(
        self,
        gradient: Array,
        parameter: Array,
        moments: Mapping[str, Array],
        *,
        coefficients: tuple[Array, Array],
        learning_rate: Array,
        spread: "Spread",
        finite: Array,
        native: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Returns a parameter and its moments after the update; a kernel computes it on a CPU."""
        of_all = {"coefficients": coefficients, "learning_rate": learning_rate, "spread": spread, "finite": finite}
        if not native:
            return super().step(gradient, parameter, moments, **of_all, native=False)

        from palmetto.native.optimizers import adamw

        new, m, v = adamw(
            gradient,
            parameter,
            moments["m"],
            moments["v"],
            b1=self.b1,
            b2=self.b2,
            grown=coefficients,
            epsilon=self.epsilon,
            learning_rate=learning_rate,
            weight_decay=self.weight_decay if parameter.ndim - spread.stack >= 2 else 0.0,
            finite=finite,
        )
        return new, {"m": m, "v": v}
