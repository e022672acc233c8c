"""Feed-forward layers between their projections."""

import jax


def swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """Swish(gate) ⊙ up (Shazeer, arXiv 2002.05202)."""
    return jax.nn.silu(gate) * up
