"""Dynamic loss scaling for activations in float16 (Micikevicius et al., arXiv 1710.03740, section 3.2).

The loss is multiplied by a power of two, so that small gradients do not underflow in float16, and the gradients are
divided by it in float32. Both operations are exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.recipe.training import LossScale

LEAST, MOST = 1.0, 2.0**30


class LossScaleState(NamedTuple):
    """Holds the loss scale of the next step and the number of steps since it last changed or overflowed."""

    scale: jax.Array
    """The scale, a float32 scalar: a power of two from LEAST to MOST."""
    good_steps: jax.Array
    """Consecutive steps without overflow, an int32 scalar below `growth_interval`."""


def initial(settings: LossScale) -> LossScaleState:
    """Returns the state before the first step."""
    return LossScaleState(jnp.float32(settings.initial), jnp.int32(0))


def factor(state: LossScaleState | None) -> jax.Array:
    """Returns the factor of the loss, a float32 scalar; it is 1 if the loss is not scaled."""
    return jnp.float32(1) if state is None else state.scale


def update(settings: LossScale, state: LossScaleState, finite: jax.Array) -> LossScaleState:
    """Returns the state after a step; `finite`, a bool scalar, tells whether its loss and gradients were finite.

    The scale is halved after an overflow and doubled after `growth_interval` consecutive steps without one.
    """
    good_steps = state.good_steps + 1
    grows = good_steps >= settings.growth_interval
    kept_or_doubled = jnp.where(grows, jnp.minimum(2 * state.scale, MOST), state.scale)
    return LossScaleState(
        scale=jnp.where(finite, kept_or_doubled, jnp.maximum(state.scale / 2, LEAST)),
        good_steps=jnp.where(finite & ~grows, good_steps, 0),
    )
