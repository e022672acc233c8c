"""Calls the accelerators' own attention kernels: cuDNN's on GPUs, splash on TPUs.

They never store the attention weights. They compute causal attention and local windows, both without a bias. Queries
are already scaled by 1/√Q, query heads h·G to h·G + G − 1 share key/value head h, and a window includes the position
itself, as elsewhere in the model.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

Flash = Callable[[jax.Array, jax.Array, jax.Array, int | None], jax.Array]
"""(q [B, T, H, Q], k [B, T, K, Q], v [B, T, K, Q], window or None for causal attention) → [B, T, H, Q]."""

_SPLASH_BLOCKS = (512, 256, 128)
"""The possible block lengths, best first; the kernel needs whole blocks of at least a TPU's 128 lanes."""


def choose(platform: str, dtype: DTypeLike, length: int, head_size: int) -> Flash | None:
    """Returns the kernel for a JAX platform name, or None if there is none or it does not support such arrays.

    The result is also None if this process runs on another platform.
    """
    device = jax.local_devices()[0]
    if device.platform != platform:
        return None
    if platform == "gpu" and "cuda" in device.client.platform_version:
        major, minor = device.compute_capability.split(".")
        return cudnn_attention if cudnn_takes(dtype, length, head_size, (int(major), int(minor))) else None
    if platform == "tpu" and device.device_kind not in ("TPU v2", "TPU v3"):
        return splash_attention if splash_takes(dtype, length, head_size) else None
    return None


def cudnn_takes(dtype: DTypeLike, length: int, head_size: int, capability: tuple[int, int]) -> bool:
    """Returns whether cuDNN has a kernel and its derivative for such heads on a GPU of this compute capability.

    It supports half precision and sequences of even length only.
    """
    largest = 256 if capability >= (9, 0) else 128
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    return half and capability >= (8, 0) and head_size <= largest and head_size % 8 == 0 and length % 2 == 0


def splash_takes(dtype: DTypeLike, length: int, head_size: int) -> bool:
    """Returns whether splash supports such heads: the length and the head size must be multiples of 128.

    It supports bfloat16 and float32.
    """
    known = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float32)
    return known and length % _SPLASH_BLOCKS[-1] == 0 and head_size % 128 == 0


def cudnn_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, window: int | None, implementation: Literal["cudnn", "xla"] = "cudnn"
) -> jax.Array:
    """Returns attention with the signature of `Flash`, for arrays that `cudnn_takes` accepts.

    Its derivative is bitwise deterministic under XLA's flag for deterministic GPU operations.

    implementation: "xla" computes the same call on any platform.
    """
    before = None if window is None or window >= q.shape[1] else (window - 1, 0)
    return jax.nn.dot_product_attention(
        q, k, v, scale=1.0, is_causal=True, local_window_size=before, implementation=implementation
    )


def splash_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, window: int | None, interpret: bool = False
) -> jax.Array:
    """Returns attention with the signature of `Flash`, for arrays that `splash_takes` accepts.

    On several devices each calls it for its own part of the arrays. interpret: run the kernel in Pallas's interpreter,
    on any platform.
    """
    # The import takes seconds.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    length, heads = q.shape[1:3]
    square = (length, length)
    mask = masks.CausalMask(square) if window is None else masks.LocalMask(square, (window - 1, 0), offset=0)
    rows = next(rows for rows in _SPLASH_BLOCKS if length % rows == 0)
    blocks = kernels.BlockSizes(
        block_q=rows, block_kv=rows, block_q_dkv=rows, block_kv_dkv=rows, block_q_dq=rows, block_kv_dq=rows
    )
    attend = kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * heads), block_sizes=blocks, head_shards=1, q_seq_shards=1, interpret=interpret
    )
    by_head: jax.Array = jax.vmap(attend)(*(x.swapaxes(1, 2) for x in (q, k, v)))
    return by_head.swapaxes(1, 2)
