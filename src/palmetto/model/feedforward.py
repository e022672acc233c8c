"""Feed-forward layers between their projections."""

import jax


@jax.custom_vjp
def swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """Swish(gate) ⊙ up (Shazeer, arXiv 2002.05202). Its derivative keeps the two inputs and nothing between."""
    return gate * jax.nn.sigmoid(gate) * up


def _forward(gate: jax.Array, up: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return swiglu(gate, up), (gate, up)


def _backward(kept: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    gate, up = kept
    sigmoid = jax.nn.sigmoid(gate)
    return d * up * sigmoid * (1 + gate * (1 - sigmoid)), d * gate * sigmoid


swiglu.defvjp(_forward, _backward)
