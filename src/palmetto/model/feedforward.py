"""The activations between the projections of a feed-forward layer (Shazeer, arXiv 2002.05202)."""

from collections.abc import Callable
from functools import partial

import jax

from palmetto.model.products import by_native
from palmetto.native import pointwise

Activation = Callable[[jax.Array], jax.Array]

UNGATED: dict[str, Activation] = {
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "swish": jax.nn.silu,
}
GATES: dict[str, Activation] = {"glu": jax.nn.sigmoid, "geglu": UNGATED["gelu"]}


def activate(name: str, up: jax.Array, gate: jax.Array | None = None, *, native: bool = False) -> jax.Array:
    """Returns the inner values of a feed-forward layer, f(up) or f(gate) ⊙ up; all shapes are equal.

    native: use the kernels of `native` where there are such.
    """
    if gate is None:
        return UNGATED[name](up)
    return swiglu(gate, up, native) if name == "swiglu" else GATES[name](gate) * up


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def swiglu(gate: jax.Array, up: jax.Array, native: bool = False) -> jax.Array:
    """Returns Swish(gate) ⊙ up; its derivative keeps only the two inputs."""
    return pointwise.swiglu(gate, up) if by_native(gate, native) else gate * jax.nn.sigmoid(gate) * up


def _forward(gate: jax.Array, up: jax.Array, native: bool) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return swiglu(gate, up, native), (gate, up)


def _backward(native: bool, kept: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    gate, up = kept
    if by_native(gate, native):
        return pointwise.swiglu_gradients(gate, up, d)
    sigmoid = jax.nn.sigmoid(gate)
    return d * up * sigmoid * (1 + gate * (1 - sigmoid)), d * gate * sigmoid


swiglu.defvjp(_forward, _backward)
