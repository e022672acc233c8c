"""Matrix products of activations with kernels, and their gradients in the form that computes best.

XLA's CPU code has two routines: a·b and a·bᵀ take the quick one, aᵀ·b, the form of every kernel's gradient, the other.
So the narrower matrix of such a product is transposed in memory first, once for all products that need it.
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def project(x: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """x [..., D] through kernels [D, F] of float32, each to [..., F] in x's dtype; D is the narrow side."""
    return tuple(in_own_type(x, kernel.astype(x.dtype)) for kernel in kernels)


def _project_forward(
    x: jax.Array, kernels: tuple[jax.Array, ...]
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, tuple[jax.Array, ...]]]:
    return project(x, kernels), (x, kernels)


def _project_backward(
    kept: tuple[jax.Array, tuple[jax.Array, ...]], d: tuple[jax.Array, ...]
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    x, kernels = kept
    parts = (in_own_type(dy, kernel.astype(x.dtype).mT) for dy, kernel in zip(d, kernels, strict=True))
    dx = sum(parts, jnp.zeros((), x.dtype))
    turned = transposed(x.reshape(-1, x.shape[-1]))
    return dx, tuple(in_float32(turned, dy.reshape(-1, dy.shape[-1])) for dy in d)


project.defvjp(_project_forward, _project_backward)


@jax.custom_vjp
def project_back(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., F] through a transposed kernel [D, F] of float32 to [..., D] in x's dtype; D is the narrow side."""
    return in_own_type(x, kernel.astype(x.dtype).mT)


def _back_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return project_back(x, kernel), (x, kernel)


def _back_backward(kept: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    turned = transposed(dy.reshape(-1, dy.shape[-1]))
    return in_own_type(dy, kernel.astype(x.dtype)), in_float32(turned, x.reshape(-1, x.shape[-1]))


project_back.defvjp(_back_forward, _back_backward)


def in_own_type(a: jax.Array, b: jax.Array) -> jax.Array:
    """a·b with a result of their type.

    In half precision a CPU gets there by way of float32: what rounds the result in the same routine is half as fast.
    """
    if a.dtype == jnp.float32:
        return a @ b
    return jax.lax.platform_dependent(
        a, b, cpu=lambda a, b: jax.lax.optimization_barrier(in_float32(a, b)).astype(a.dtype), default=jnp.matmul
    )


def in_float32(a: jax.Array, b: jax.Array) -> jax.Array:
    """a·b with a float32 result, batched over leading axes."""
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def transposed(x: jax.Array) -> jax.Array:
    """The last two axes swapped; on a CPU also in memory, where the compiler would fold the swap into the product."""
    return jax.lax.platform_dependent(x, cpu=lambda x: jax.lax.optimization_barrier(x.mT), default=lambda x: x.mT)
