"""Matrix products on a CPU by kernels of this package.

An element's terms are added in the order of their index, however many threads compute the product and whatever its
other rows and columns are.
"""

import jax


def product(
    a: jax.Array,
    b: jax.Array,
    dtype: jax.typing.DTypeLike,
    *,
    half: bool,
    a_transposed: bool = False,
    b_transposed: bool = False,
) -> jax.Array:
    """Returns a·b, batched over equal leading axes, rounded once from float32 sums to `dtype`.

    a is [..., M, K] and b [..., K, N], or with their last two axes swapped if they are called transposed. Operands and
    result are float32 or bfloat16. half: float32 operands are rounded to bfloat16 first, as the kernels read them. With
    AMX and AVX-512's products of bfloat16, denormal operands and sums then count as zeros.
    """
    rows, columns = a.shape[-1 if a_transposed else -2], b.shape[-2 if b_transposed else -1]
    assert a.shape[:-2] == b.shape[:-2], "one product for each entry of the leading axes"
    assert a.shape[-2 if a_transposed else -1] == b.shape[-1 if b_transposed else -2], "as many columns as rows"
    result = jax.ShapeDtypeStruct((*a.shape[:-2], rows, columns), dtype)
    call = jax.ffi.ffi_call("palmetto_product", result, vmap_method="broadcast_all")
    return call(a, b, transpose_a=a_transposed, transpose_b=b_transposed, half=half)
