"""One decoder block: attention and feed-forward side by side behind one norm."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from palmetto.model.feedforward import swiglu
from palmetto.model.layout import Block, split_inputs
from palmetto.model.norms import layer_norm
from palmetto.model.positions import rotate
from palmetto.recipe import Model

Attention = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""Rotated queries [B, T, H, Q], rotated keys and values [B, T, Q] → [B, T, H, Q]."""


def parallel_block(
    block: Block, x: jax.Array, angles: tuple[jax.Array, jax.Array], model: Model, attention: Attention
) -> jax.Array:
    """y = x + MLP(LN(x)) + Attn(LN(x)) (PaLM, section 2), x [B, T, D]; angles [T, Q/2] of its positions."""
    cosines, sines = angles
    joined = checkpoint_name(layer_norm(x, block.norm) @ block.inputs.astype(x.dtype), "projections")
    q, k, v, gate, up = split_inputs(joined, model)
    q, k = rotate(q, cosines[:, None], sines[:, None]), rotate(k, cosines, sines)
    attended = attention(q, k, v)
    inner = jnp.concatenate([attended.reshape(*x.shape[:2], -1), swiglu(gate, up)], axis=-1)
    return x + inner @ block.outputs.astype(x.dtype)
