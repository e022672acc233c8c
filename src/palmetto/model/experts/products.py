"""Rows through the experts that they belong to: the ragged products of accelerators, and blocks of rows on a CPU."""

from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp

from palmetto.model.products import in_float32, in_own_type, transposed

Activate = Callable[[jax.Array, jax.Array | None], jax.Array]
"""A projection [..., F] and, where gated, the gate's [..., F] → what goes through `down` [..., F]."""

_Kernels = tuple[jax.Array, ...]
"""Up and, where gated, gate: kernels [E, D, F] or what they project to."""

_Results = tuple[jax.Array, _Kernels]
_Gradients = tuple[jax.Array, _Kernels, jax.Array]
_Kept = tuple[jax.Array, _Kernels, jax.Array, jax.Array, _Kernels]

_BLOCK_ROWS = (8, 128)
"""The least and the most rows of a block."""

_RUNS = (4, 1)
"""Backward, blocks of an expert are taken four at a time, the rest one by one: the sum that each adds to its kernels'
gradients costs the same."""


def pair(projected: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array | None]:
    """A projection and its gate, if there is one."""
    return projected[0], projected[1] if len(projected) > 1 else None


def block_size(share: int) -> int:
    """Rows of a block where an expert has `share` on average: a quarter of that or less, a power of two from 8 to 128.

    A larger block makes more of a kernel once it is loaded, a smaller one leaves less of an expert's last one empty.
    """
    quarter = max(_BLOCK_ROWS[0], min(share // 4, _BLOCK_ROWS[1]))
    return 1 << (quarter.bit_length() - 1)


@jax.custom_vjp
def ragged(rows: jax.Array, kernels: jax.Array, sizes: jax.Array) -> jax.Array:
    """Rows [M, D], the first sizes[0] of them through kernels[0] and so on, [E, D, F] in float32, to [M, F]."""
    product = jax.lax.ragged_dot(rows, kernels.astype(rows.dtype), sizes, preferred_element_type=jnp.float32)
    return product.astype(rows.dtype)


def _ragged_backward(kept: tuple[jax.Array, jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    rows, kernels, sizes = kept
    over_rows = jax.lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), [0], [])
    dkernels = jax.lax.ragged_dot_general(rows, d, sizes, over_rows, preferred_element_type=jnp.float32)
    return ragged(d, kernels.mT, sizes), dkernels, None


ragged.defvjp(lambda *inputs: (ragged(*inputs), inputs), _ragged_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def in_blocks(
    activate: Activate, size: int, rows: jax.Array, kernels: _Kernels, down: jax.Array, bounds: jax.Array
) -> jax.Array:
    """Rows [M, D] through their experts to [M, D], `size` at a time: blocks bounds[e] to bounds[e + 1] are expert e's.

    XLA's CPU code takes every row of a ragged product through all experts. Here a block goes all its way while it is
    in the cache, and only as many blocks are computed as there are. A row's place in its block depends on nothing
    behind it, so not even a bit of it does.
    """
    return _blocks_forward(activate, size, rows, kernels, down, bounds)[0]


def _blocks_forward(
    activate: Activate, size: int, rows: jax.Array, kernels: _Kernels, down: jax.Array, bounds: jax.Array
) -> tuple[jax.Array, _Kept]:
    def expert(e: jax.Array, results: _Results) -> _Results:
        own, own_down = _own(kernels, e, rows.dtype), down[e].astype(rows.dtype)

        def block(i: jax.Array, results: _Results) -> _Results:
            outputs, projections = results
            x = _slice(rows, i * size, size)
            projected = tuple(in_own_type(x, kernel) for kernel in own)
            y = in_own_type(activate(*pair(projected)), own_down.mT)
            put = (_put(whole, i * size, part) for whole, part in zip(projections, projected, strict=True))
            return _put(outputs, i * size, y), tuple(put)

        return jax.lax.fori_loop(bounds[e], bounds[e + 1], block, results)

    wide = jnp.zeros((rows.shape[0], down.shape[2]), rows.dtype)
    empty = jnp.zeros_like(rows), (wide,) * len(kernels)
    outputs, projections = jax.lax.fori_loop(0, down.shape[0], expert, empty)
    return outputs, (rows, kernels, down, bounds, projections)


def _blocks_backward(
    activate: Activate, size: int, kept: _Kept, d: jax.Array
) -> tuple[jax.Array, _Kernels, jax.Array, None]:
    rows, kernels, down, bounds, projections = kept

    def expert(e: jax.Array, gradients: _Gradients) -> _Gradients:
        own, own_down = _own(kernels, e, rows.dtype), down[e].astype(rows.dtype)

        def run(first: jax.Array, blocks: int, i: jax.Array, gradients: _Gradients) -> _Gradients:
            drows, dkernels, ddown = gradients
            start, length = (first + i * blocks) * size, blocks * size
            x, dy, *projected = (_slice(whole, start, length) for whole in (rows, d, *projections))
            inner, pull_back = jax.vjp(lambda *projected: activate(*pair(projected)), *projected)
            dprojected = pull_back(in_own_type(dy, own_down))
            dx = reduce(jnp.add, (in_own_type(dp, kernel.mT) for dp, kernel in zip(dprojected, own, strict=True)))
            turned = transposed(x)
            dkernels = tuple(dk + in_float32(turned, dp) for dk, dp in zip(dkernels, dprojected, strict=True))
            return _put(drows, start, dx), dkernels, ddown + in_float32(transposed(dy), inner)

        drows, dkernels, ddown = gradients
        zeros, zero = jax.tree.map(lambda kernel: jnp.zeros(kernel.shape[1:]), (kernels, down))
        own_gradients, first = (drows, zeros, zero), bounds[e]
        for blocks in (blocks for blocks in _RUNS if blocks * size <= rows.shape[0]):
            runs = (bounds[e + 1] - first) // blocks
            own_gradients = jax.lax.fori_loop(0, runs, partial(run, first, blocks), own_gradients)
            first += runs * blocks
        drows, own_dkernels, own_ddown = own_gradients
        dkernels = tuple(dk.at[e].set(one) for dk, one in zip(dkernels, own_dkernels, strict=True))
        return drows, dkernels, ddown.at[e].set(own_ddown)

    empty = jax.tree.map(jnp.zeros_like, (rows, kernels, down))
    return *jax.lax.fori_loop(0, down.shape[0], expert, empty), None


in_blocks.defvjp(_blocks_forward, _blocks_backward)


def _own(kernels: _Kernels, e: jax.Array, dtype: jnp.dtype) -> _Kernels:
    """One expert's kernels."""
    return tuple(kernel[e].astype(dtype) for kernel in kernels)


def _slice(rows: jax.Array, start: jax.Array, length: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(rows, start, length)


def _put(rows: jax.Array, start: jax.Array, some: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(rows, some, start, 0)
