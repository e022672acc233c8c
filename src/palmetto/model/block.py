"""One decoder block: attention and feed-forward side by side behind one norm."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from palmetto.model.feedforward import swiglu
from palmetto.model.layout import Block
from palmetto.model.norms import standardize
from palmetto.model.positions import rotate
from palmetto.model.products import project, project_back
from palmetto.recipe import Model

Attention = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""Rotated, scaled queries [B, T, H, Q], rotated keys and values [B, T, Q] → [B, T, H, Q]."""


def parallel_block(
    block: Block, x: jax.Array, angles: tuple[jax.Array, jax.Array], model: Model, attention: Attention
) -> jax.Array:
    """y = x + MLP(LN(x)) + Attn(LN(x)) (PaLM, section 2), x [B, T, D]; angles [T, Q/2] of its positions."""
    cosines, sines = angles
    normed = standardize(x)
    qkv, gate, up = checkpoint_name(project(normed, (block.qkv, block.gate, block.up)), "projections")
    q, k, v = jnp.split(qkv, [model.heads * model.query_size, (model.heads + 1) * model.query_size], axis=-1)
    q = rotate(q.reshape(*x.shape[:2], model.heads, -1), cosines[:, None], sines[:, None])
    attended = attention(q, rotate(k, cosines, sines), v).reshape(*x.shape[:2], -1)
    return x + project_back(swiglu(gate, up), block.down) + project_back(attended, block.o)
