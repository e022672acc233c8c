"""Implements Lion (Chen et al., arXiv 2302.06675, algorithm 2) to show that a new optimizer is one file."""

from collections.abc import Mapping
from typing import Any, Literal

from palmetto.recipe.optimizers import Array, Moment, Optimizer, Parameter
from palmetto.recipe.section import Coefficient, Share


class Lion(Optimizer):
    """Moves every weight by the learning rate, in the direction of the momentum's sign."""

    name: Literal["lion"] = "lion"
    beta1: Share = 0.9
    beta2: Share = 0.99
    weight_decay: Coefficient = 0.0

    def moments(self, of: Parameter) -> dict[str, Moment]:
        return {"momentum": Moment(of.shape, of.axes)}

    def update(
        self,
        gradient: Array,
        parameter: Array,
        moments: Mapping[str, Array],
        *,
        coefficients: None,
        learning_rate: Array,
        spread: Any,
    ) -> tuple[Array, dict[str, Array]]:
        import jax.numpy as jnp

        from palmetto.model.sums import rounded
        from palmetto.training.optimization import blend

        momentum = moments["momentum"]
        direction = jnp.sign(blend(self.beta1, momentum, 1 - self.beta1, gradient))
        direction += rounded(self.weight_decay * parameter)
        return rounded(-learning_rate * direction), {"momentum": blend(self.beta2, momentum, 1 - self.beta2, gradient)}
