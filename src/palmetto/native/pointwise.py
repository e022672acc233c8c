"""Functions of single values or rows on a CPU, by kernels of this package: computed in float32, rounded once."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """Returns gate · σ(gate) · up; both are float32 or bfloat16, of equal shape."""
    return _call("swiglu", _like(gate))(gate, up)


def swiglu_gradients(gate: jax.Array, up: jax.Array, d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the derivatives with respect to gate and up, given that with respect to the result."""
    dgate, dup = _call("swiglu_backward", (_like(gate), _like(up)))(gate, up, d)
    return dgate, dup


class CrossEntropy(NamedTuple):
    """Holds what `cross_entropy` returns."""

    gradient: jax.Array
    """The derivatives of Σ (losses + z_loss · squares) with respect to the scores [N, V]."""
    losses: jax.Array
    """The weighted cross-entropies in nats, float32 [N]."""
    squares: jax.Array
    """The weighted log² Z, float32 [N], where Z is the softmax normalizer."""


def cross_entropy(
    scores: jax.Array, targets: jax.Array, weights: jax.Array, z_loss: float, dtype: jax.typing.DTypeLike
) -> CrossEntropy:
    """Returns losses and gradient of float32 scores [N, V] for int32 targets [N] and float32 weights [N].

    The gradient has the type `dtype`, float32 or bfloat16.
    """
    each = jax.ShapeDtypeStruct(targets.shape, jnp.float32)
    results = (jax.ShapeDtypeStruct(scores.shape, dtype), each, each)
    return CrossEntropy(*_call("cross_entropy", results)(scores, targets, weights, z_loss=np.float32(z_loss)))


def _call(name: str, results: Any) -> Any:
    return jax.ffi.ffi_call(f"palmetto_{name}", results, vmap_method="broadcast_all")


def _like(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)
