"""Functions of single values or rows on a CPU, by kernels of this package: computed in float32, rounded once."""

from functools import partial
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


def log_sum(scores: jax.Array) -> jax.Array:
    """Returns the logarithm of Σ e^score of each row of float32 scores [N, V], V ≥ 1: float32 [N]."""
    result: jax.Array = _call("log_sum", jax.ShapeDtypeStruct(scores.shape[:1], jnp.float32))(scores)
    return result


def largest(scores: jax.Array) -> jax.Array:
    """Returns the place of the largest of each row of float32 scores [N, V], V ≥ 1, as argmax does: int32 [N]."""
    result: jax.Array = _call("largest", jax.ShapeDtypeStruct(scores.shape[:1], jnp.int32))(scores)
    return result


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def normalize(x: jax.Array, centred: bool, epsilon: float) -> jax.Array:
    """Returns x with its last axis normalized to mean square 1, and to mean 0 if centred; float32 or bfloat16.

    Epsilon is added to the mean square before the root.
    """
    result: jax.Array = _call("normalize", _like(x))(x, centred=centred, epsilon=np.float32(epsilon))
    return result


def _normalize_backward(centred: bool, epsilon: float, x: jax.Array, d: jax.Array) -> tuple[jax.Array]:
    return (_call("normalize_backward", _like(x))(x, d, centred=centred, epsilon=np.float32(epsilon)),)


normalize.defvjp(lambda x, centred, epsilon: (normalize(x, centred, epsilon), x), _normalize_backward)


Angles = tuple[jax.Array, jax.Array]
"""Cosines and sines, float32 [..., T, Q/2]."""


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def turn_apart(together: jax.Array, angles: Angles, heads: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns q [..., T, heads, Q], k and v [..., T, K, Q] of an array [..., T, heads + 2K, Q]; q and k are turned.

    The pairs (x[i], x[i + Q/2]) of a head are turned by the angles of their position. The arrays are float32 or
    bfloat16. The angles have no derivative.
    """
    *tokens, both, size = together.shape
    shared = (both - heads) // 2
    results = [jax.ShapeDtypeStruct((*tokens, count, size), together.dtype) for count in (heads, shared, shared)]
    q, k, v = _call("turn_apart", results)(together, *angles)
    return q, k, v


def _turn_forward(
    together: jax.Array, angles: Angles, heads: int
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Angles]:
    return turn_apart(together, angles, heads), angles


def _turn_backward(heads: int, angles: Angles, d: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    dq, dk, _ = d
    both = heads + 2 * dk.shape[-2]
    shape = jax.ShapeDtypeStruct((*dq.shape[:-2], both, dq.shape[-1]), dq.dtype)
    return _call("turn_back", shape)(*d, *angles), None


turn_apart.defvjp(_turn_forward, _turn_backward)


def _call(name: str, results: Any) -> Any:
    return jax.ffi.ffi_call(f"palmetto_{name}", results, vmap_method="broadcast_all")


def _like(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)
