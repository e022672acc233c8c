"""The decoder: embedding, blocks, final norm, logits."""

from typing import Literal

import jax
import jax.numpy as jnp

from palmetto.model.attention import causal_attention
from palmetto.model.block import parallel_block
from palmetto.model.layout import Arranged, Block, Layout
from palmetto.model.norms import standardize
from palmetto.model.positions import rotary_angles
from palmetto.recipe import Model

Rematerialize = Literal["nothing", "projections", "block"]


def hidden_states(
    arranged: Arranged, tokens: jax.Array, model: Model, layout: Layout, rematerialize: Rematerialize = "nothing"
) -> jax.Array:
    """Tokens [B, T] of int32 → final states [B, T, D] in the activation type, normed and scaled for the logits."""
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
    return final_norm(arranged, x)


def embed(arranged: Arranged, tokens: jax.Array, model: Model) -> jax.Array:
    """Rows of the embedding [B, T, D] in the activation type; no norm and no scale on them."""
    return arranged.embedding[tokens].astype(model.activations)


def final_norm(arranged: Arranged, x: jax.Array) -> jax.Array:
    """The last block's result [..., D] → final states: LN(x)/√D."""
    return standardize(x) * arranged.final_norm.astype(x.dtype)


def logits(embedding: jax.Array, states: jax.Array) -> jax.Array:
    """Final states [..., D] → float32 logits [..., V] = states · embeddingᵀ."""
    return jnp.einsum("...d,vd->...v", states, embedding.astype(states.dtype), preferred_element_type=jnp.float32)
