"""Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from palmetto.model.sums import rounded
from palmetto.model.weights import Specification
from palmetto.parallel.sharding import Spread
from palmetto.recipe.optimizers import AdamW
from palmetto.training.optimizers.protocol import Moment, Moments, blend


@dataclass(frozen=True)
class AdamWRule:
    """Adam as optax has it, to the rounding; matrices decay, norm scales and biases do not."""

    settings: AdamW

    def moments(self, of: Specification) -> dict[str, Moment]:
        """Declares m and v, the means of the gradients and of their squares, shaped like the parameter."""
        whole = Moment(of.shape, of.axes)
        return {"m": whole, "v": whole}

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
        b1, b2 = self.settings.b1, self.settings.b2
        unbias = [1 - jnp.float32(b) ** k.astype(jnp.float32) for b in (b1, b2)]
        m = blend(b1, moments["m"], 1 - b1, gradient)
        v = blend(b2, moments["v"], 1 - b2, rounded(jnp.square(gradient)))
        direction = (m / unbias[0]) / (jnp.sqrt(v / unbias[1]) + self.settings.epsilon)
        if parameter.ndim - spread.stack >= 2:
            direction = direction + rounded(self.settings.weight_decay * parameter)
        return rounded(-learning_rate * direction), {"m": m, "v": v}
