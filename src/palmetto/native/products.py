"""Matrix products on a CPU by kernels of this package.

An element's terms are added in the order of their index, however many threads compute the product and whatever its
other rows and columns are.
"""

from collections.abc import Sequence

import jax


def product(
    pairs: Sequence[tuple[jax.Array, jax.Array]],
    dtype: jax.typing.DTypeLike,
    *,
    a_transposed: bool = False,
    b_transposed: bool = False,
) -> jax.Array:
    """Returns Σ a·b over pairs (a, b), batched over equal leading axes, rounded once from float32 sums to `dtype`.

    a is [..., M, K] and b [..., K, N], or with their last two axes swapped if they are called transposed; K may differ
    between pairs. Operands and result are float32 or bfloat16. If an a is bfloat16, products are of bfloat16 values:
    float32 operands are rounded to it as the kernels read them. With AMX and AVX-512's products of bfloat16, denormal
    operands and sums then count as zeros.
    """
    (a, b), *_ = pairs
    rows, columns = a.shape[-1 if a_transposed else -2], b.shape[-2 if b_transposed else -1]
    for a, b in pairs:
        depth = a.shape[-2 if a_transposed else -1]
        assert a.shape == (*a.shape[:-2], *((depth, rows) if a_transposed else (rows, depth))), "as many rows in each"
        assert b.shape == (*a.shape[:-2], *((columns, depth) if b_transposed else (depth, columns))), "b fits a"
    result = jax.ShapeDtypeStruct((*a.shape[:-2], rows, columns), dtype)
    call = jax.ffi.ffi_call("palmetto_product", result, vmap_method="broadcast_all")
    half = any(a.dtype == jax.numpy.bfloat16 for a, _ in pairs)
    flat = [operand for pair in pairs for operand in pair]
    return call(*flat, a_transposed=a_transposed, b_transposed=b_transposed, half=half)
