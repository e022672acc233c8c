"""The decoder: embedding, layers, final norm, logits."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from palmetto.model.attention import attention
from palmetto.model.block import block
from palmetto.model.experts.router import Routing
from palmetto.model.layout import Arranged, Fetch, Layer, Stacked
from palmetto.model.lookup import lookup
from palmetto.model.norms import NORMS, normalize
from palmetto.model.positions import Angles, rotary_angles, shared, sinusoids
from palmetto.model.tuning import Tuning
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import LearnedPositions, Model, ParallelWindows, RotaryPositions, SinusoidalPositions

Rematerialize = Literal["nothing", "projections", "block"]


def hidden_states(
    arranged: Arranged,
    tokens: jax.Array,
    model: Model,
    tuning: Tuning,
    rematerialize: Rematerialize = "nothing",
    *,
    mesh: Mesh = ONE_DEVICE,
    prefix: jax.Array | None = None,
    embedding_gradient: float = 1.0,
    fetch: Fetch | None = None,
) -> tuple[jax.Array, Routing | None]:
    """Tokens [B, T] of int32 → final states [B, T, D] in the activation type, normed and scaled for the logits.

    `prefix` [B] of int32: so many first positions see each other. `fetch`: makes each layer's arrays whole when it is
    their turn, once more in the backward pass. With experts, also what each layer's router did, stacked over the layers
    that have them, in their order.
    """
    x = embed(arranged, tokens, local_positions(tokens.shape[1], mesh), model, embedding_gradient)
    x, routing = through_layers(arranged.layers, x, model, tuning, rematerialize, mesh=mesh, prefix=prefix, fetch=fetch)
    return final_norm(arranged, x, model), routing


def through_layers(
    layers: Stacked | tuple[Layer, ...],
    x: jax.Array,
    model: Model,
    tuning: Tuning,
    rematerialize: Rematerialize = "nothing",
    *,
    mesh: Mesh = ONE_DEVICE,
    prefix: jax.Array | None = None,
    fetch: Fetch | None = None,
) -> tuple[jax.Array, Routing | None]:
    """x [B, T, D] through these layers, whole periods of a model's; other arguments as of `hidden_states`."""
    angles = turning(local_positions(x.shape[1], mesh), model)

    def apply(kind: int, layer: Layer, x: jax.Array) -> tuple[jax.Array, Routing | None]:
        layer = {n: checkpoint_name(array, "fetched") for n, array in (fetch(layer) if fetch else layer).items()}

        def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            return attention(layer, q, k, v, model, model.attention_of(kind), tuning, prefix, mesh)

        return block(layer, x, angles, model, attend, tuning, mesh)

    # Also where there is nothing to fetch: a program of another form is compiled to other roundings.
    apply = jax.checkpoint(apply, static_argnums=0, policy=_KEPT[rematerialize])
    return through(layers, x, lambda kind, layer, x, _: apply(kind, layer, x))


def local_positions(length: int, mesh: Mesh) -> jax.Array:
    """The positions [length] that this device holds of each sequence: all, or its share."""
    positions = jnp.arange(length)
    return positions if mesh.sequence == 1 else positions + length * jax.lax.axis_index("sequence")


_KEPT = {
    "nothing": jax.checkpoint_policies.save_anything_except_these_names("fetched"),
    "projections": jax.checkpoint_policies.save_only_these_names("projections"),
    "block": jax.checkpoint_policies.nothing_saveable,
}
"""What the backward pass need not compute again; it never keeps what was fetched."""

Apply = Callable[[int, Layer, jax.Array, Any], tuple[jax.Array, Any]]


def through(
    layers: Stacked | tuple[Layer, ...], x: jax.Array, apply: Apply, along: Any = None
) -> tuple[jax.Array, Any]:
    """x through every layer: apply(kind, layer, x, part of `along`) → new x and a result, or None.

    `kind` is the first layer's number of those alike, `along` a pytree whose leading axis counts layers. Results come
    stacked over the layers that have one, in their order; None where none has.
    """
    if not isinstance(layers, Stacked):
        return _in_turn(layers, x, apply, along)
    period = len(layers.kinds)
    by_period = jax.tree.map(lambda array: array.reshape(-1, period, *array.shape[1:]), along)
    x, results = jax.lax.scan(lambda x, part: _in_turn(part[0], x, apply, part[1]), x, (layers.kinds, by_period))
    return x, jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), results)


def _in_turn(layers: tuple[Layer, ...], x: jax.Array, apply: Apply, along: Any) -> tuple[jax.Array, Any]:
    results = []
    for number, layer in enumerate(layers):
        x, result = apply(number, layer, x, jax.tree.map(lambda array, n=number: array[n], along))
        if result is not None:
            results.append(result)
    return x, jax.tree.map(lambda *arrays: jnp.stack(arrays), *results) if results else None


def turning(positions: jax.Array, model: Model) -> Angles | None:
    """The angles of integer positions [T], where positions are rotary."""
    if not isinstance(model.positions, RotaryPositions):
        return None
    return rotary_angles(_seen_as(positions, model), model.query_size, model.positions)


def embed(
    arranged: Arranged, tokens: jax.Array, positions: jax.Array, model: Model, gradient: float = 1.0
) -> jax.Array:
    """Rows of the embedding [B, T, D] in the activation type, with what positions [T] add to them.

    `gradient`: the share of its gradient that reaches the embedding by this way (GLM-130B, arXiv 2210.02414).
    """
    x = _shrink_gradient(gradient, lookup(arranged.embedding, tokens))
    match model.positions:
        case LearnedPositions():
            x = x + arranged.ends["positions"][_seen_as(positions, model)]
        case SinusoidalPositions():
            x = x + sinusoids(_seen_as(positions, model), model.d_model)
    if model.embedding_norm:
        x = normalize(NORMS[model.norm], x, arranged.ends, "embedding_norm")
    return x.astype(model.activations)


def _seen_as(positions: jax.Array, model: Model) -> jax.Array:
    return shared(positions, model.attention) if isinstance(model.attention, ParallelWindows) else positions


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _shrink_gradient(share: float, x: jax.Array) -> jax.Array:
    """x, whose gradient is multiplied by `share`."""
    return x


_shrink_gradient.defvjp(lambda share, x: (x, None), lambda share, _, d: (d if share == 1 else share * d,))


def final_norm(arranged: Arranged, x: jax.Array, model: Model) -> jax.Array:
    """The last layer's result [..., D] → final states for the logits: N(x), over √D where the embedding is tied."""
    if model.norm_position in ("pre", "sandwich"):
        return normalize(NORMS[model.norm], x, arranged.ends, "final_norm")
    return x / math.sqrt(model.d_model) if model.tied_embedding else x


def logits(unembedding: jax.Array, states: jax.Array) -> jax.Array:
    """Final states [..., D] → float32 logits [..., V] = states · unembeddingᵀ."""
    return jnp.einsum("...d,vd->...v", states, unembedding.astype(states.dtype), preferred_element_type=jnp.float32)
