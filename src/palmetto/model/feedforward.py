"""The activations between the projections of a feed-forward layer (Shazeer, arXiv 2002.05202)."""

from collections.abc import Callable

import jax

Activation = Callable[[jax.Array], jax.Array]

UNGATED: dict[str, Activation] = {
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "swish": jax.nn.silu,
}
GATES: dict[str, Activation] = {"glu": jax.nn.sigmoid, "geglu": UNGATED["gelu"]}


def activate(name: str, up: jax.Array, gate: jax.Array | None = None) -> jax.Array:
    """Returns the inner values of a feed-forward layer, f(up) or f(gate) ⊙ up; all shapes are equal."""
    if gate is None:
        return UNGATED[name](up)
    return swiglu(gate, up) if name == "swiglu" else GATES[name](gate) * up


@jax.custom_vjp
def swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """Returns Swish(gate) ⊙ up; its derivative keeps only the two inputs."""
    return gate * jax.nn.sigmoid(gate) * up


def _forward(gate: jax.Array, up: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return swiglu(gate, up), (gate, up)


def _backward(kept: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    gate, up = kept
    sigmoid = jax.nn.sigmoid(gate)
    return d * up * sigmoid * (1 + gate * (1 - sigmoid)), d * gate * sigmoid


swiglu.defvjp(_forward, _backward)
