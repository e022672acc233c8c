"""Lion (Chen et al., arXiv 2302.06675, algorithm 2), to show that a new optimizer is one file."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from palmetto.model.sums import rounded
from palmetto.model.weights import Specification
from palmetto.parallel.sharding import Spread
from palmetto.recipe.optimizers import OptimizerSettings
from palmetto.recipe.section import Coefficient, Share
from palmetto.training import optimizers
from palmetto.training.optimizers.protocol import Moment, Moments, blend


class Lion(OptimizerSettings):
    """The settings, as a recipe has them in training.optimizer."""

    name: Literal["lion"] = "lion"
    beta1: Share = 0.9
    beta2: Share = 0.99
    weight_decay: Coefficient = 0.0


@dataclass(frozen=True)
class LionRule:
    """Moves every weight by the learning rate, in the direction of the momentum's sign."""

    settings: Lion

    def moments(self, of: Specification) -> dict[str, Moment]:
        return {"momentum": Moment(of.shape, of.axes)}

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
        beta1, beta2, momentum = self.settings.beta1, self.settings.beta2, moments["momentum"]
        direction = jnp.sign(blend(beta1, momentum, 1 - beta1, gradient))
        direction += rounded(self.settings.weight_decay * parameter)
        return rounded(-learning_rate * direction), {"momentum": blend(beta2, momentum, 1 - beta2, gradient)}


def register() -> None:
    optimizers.register(Lion, LionRule)
