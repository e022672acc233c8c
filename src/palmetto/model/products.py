"""Matrix products of activations with kernels, with gradients in the form that computes fastest.

XLA's CPU code has a fast routine for a·b and a·bᵀ and a slow one for aᵀ·b, the form of every kernel's gradient. So the
narrower matrix of such a product is first transposed in memory, once for all products that need it.
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def project(x: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Returns the products [..., F] of x [..., D] with each float32 kernel [D, F], in x's dtype.

    The gradient is fastest if D is the smaller dimension.
    """
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
    """Returns the product [..., D] of x [..., F] with a transposed float32 kernel [D, F], in x's dtype.

    The gradient is fastest if D is the smaller dimension.
    """
    return in_own_type(x, kernel.astype(x.dtype).mT)


def _back_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return project_back(x, kernel), (x, kernel)


def _back_backward(kept: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    turned = transposed(dy.reshape(-1, dy.shape[-1]))
    return in_own_type(dy, kernel.astype(x.dtype)), in_float32(turned, x.reshape(-1, x.shape[-1]))


project_back.defvjp(_back_forward, _back_backward)


def in_own_type(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a·b in the type of a and b.

    In half precision a CPU computes it in float32 and rounds afterwards: its half-precision routine is half as fast.
    """
    if a.dtype == jnp.float32:
        return a @ b
    return jax.lax.platform_dependent(
        a, b, cpu=lambda a, b: jax.lax.optimization_barrier(in_float32(a, b)).astype(a.dtype), default=jnp.matmul
    )


def in_float32(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a·b in float32, batched over leading axes."""
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def transposed(x: jax.Array) -> jax.Array:
    """Returns x with its last two axes swapped.

    On a CPU they are swapped in memory too; the compiler would otherwise fold the transposition into the product.
    """
    return jax.lax.platform_dependent(x, cpu=lambda x: jax.lax.optimization_barrier(x.mT), default=lambda x: x.mT)
