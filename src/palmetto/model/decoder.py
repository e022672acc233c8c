"""The decoder: embedding, blocks, final norm, logits."""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from palmetto.model.attention import causal_attention
from palmetto.model.block import parallel_block
from palmetto.model.layout import Arranged, Block, Layout
from palmetto.model.norms import layer_norm
from palmetto.model.positions import rotary_angles
from palmetto.recipe import Model

Rematerialize = Literal["nothing", "projections", "block"]


def hidden_states(
    arranged: Arranged, tokens: jax.Array, model: Model, layout: Layout, rematerialize: Rematerialize = "nothing"
) -> jax.Array:
    """Tokens [B, T] of int32 → normed final states [B, T, D] in the model's activation type."""
    angles = rotary_angles(jnp.arange(tokens.shape[1]), model.query_size)

    def apply(x: jax.Array, block: Block) -> jax.Array:
        return parallel_block(block, x, angles, model, lambda q, k, v: causal_attention(q, k, v, layout.query_rows))

    if rematerialize == "block":
        apply = jax.checkpoint(apply)
    elif rematerialize == "projections":
        apply = jax.checkpoint(apply, policy=jax.checkpoint_policies.save_only_these_names("projections"))
    x = embed(arranged, tokens, model)
    if isinstance(arranged.blocks, Block):
        x, _ = jax.lax.scan(lambda x, block: (apply(x, block), None), x, arranged.blocks)
    else:
        for block in arranged.blocks:
            x = apply(x, block)
    return layer_norm(x, arranged.final_norm)


def embed(arranged: Arranged, tokens: jax.Array, model: Model) -> jax.Array:
    """Rows of the embedding [B, T, D] in the activation type; no norm and no scale on them."""
    return arranged.embedding[tokens].astype(model.activations)


def logits(arranged: Arranged, states: jax.Array) -> jax.Array:
    """States [..., D] → float32 logits [..., V] = states · embeddingᵀ / √D."""
    scale = 1 / math.sqrt(states.shape[-1])
    table = arranged.embedding.astype(states.dtype)
    return scale * jnp.einsum("...d,vd->...v", states, table, preferred_element_type=jnp.float32)
