"""Products of rows with the kernels of their experts: ragged products on accelerators, blocks of rows on a CPU."""

from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp

from palmetto.model.products import in_float32, in_own_type, transposed

Activate = Callable[[jax.Array, jax.Array | None], jax.Array]
"""(up projection [..., F], gate projection [..., F] or None) → the input of `down` [..., F]."""

_Kernels = tuple[jax.Array, ...]
"""The kernels up and, if gated, gate, [E, D, F], or their projections."""

_Results = tuple[jax.Array, _Kernels]
_Gradients = tuple[jax.Array, _Kernels, jax.Array]
_Kept = tuple[jax.Array, _Kernels, jax.Array, jax.Array, _Kernels]

_BLOCK_ROWS = (8, 128)
"""The smallest and the largest number of rows in a block."""

_RUNS = (4, 1)
"""The numbers of blocks that the backward pass takes together: four, and one for the rest. Each group adds once to the
kernels' gradients, at the same cost for any number of blocks."""


def pair(projected: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array | None]:
    """Returns the up projection and the gate projection, or None for the latter if there is none."""
    return projected[0], projected[1] if len(projected) > 1 else None


def block_size(share: int) -> int:
    """Returns the rows of a block for experts with `share` rows on average: a power of two from 8 to 128.

    It is the largest that is at most a quarter of `share`, but at least 8. Larger blocks reuse a loaded kernel more
    often; smaller ones leave fewer empty rows in an expert's last block.
    """
    quarter = max(_BLOCK_ROWS[0], min(share // 4, _BLOCK_ROWS[1]))
    return 1 << (quarter.bit_length() - 1)


@jax.custom_vjp
def ragged(rows: jax.Array, kernels: jax.Array, sizes: jax.Array) -> jax.Array:
    """Returns the products [M, F] of rows [M, D] with float32 kernels [E, D, F], in the rows' dtype.

    The first sizes[0] rows are multiplied by kernels[0], the next sizes[1] by kernels[1], and so on.
    """
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
    """Returns the experts' outputs [M, D] for rows [M, D], computed in blocks of `size` rows.

    Blocks bounds[e] up to bounds[e + 1] belong to expert e. XLA's CPU code multiplies every row of a ragged product
    with all experts. Here only occupied blocks are computed, each through the whole expert while it is in the cache.
    A row's place in its block does not depend on later rows, so neither do its bits.
    """
    return _blocks_forward(activate, size, rows, kernels, down, bounds)[0]


def _blocks_forward(
    activate: Activate, size: int, rows: jax.Array, kernels: _Kernels, down: jax.Array, bounds: jax.Array
) -> tuple[jax.Array, _Kept]:
    def expert(e: jax.Array, results: _Results) -> _Results:
        own, own_down = _kernels_of(kernels, e, rows.dtype), down[e].astype(rows.dtype)

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
        own, own_down = _kernels_of(kernels, e, rows.dtype), down[e].astype(rows.dtype)

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


def _kernels_of(kernels: _Kernels, e: jax.Array, dtype: jnp.dtype) -> _Kernels:
    """Returns the kernels of expert e."""
    return tuple(kernel[e].astype(dtype) for kernel in kernels)


def _slice(rows: jax.Array, start: jax.Array, length: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(rows, start, length)


def _put(rows: jax.Array, start: jax.Array, some: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(rows, some, start, 0)
