"""The decoder: the forward pass, written once for training, validation, pipelines and decoding."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from palmetto.model.attention import attention
from palmetto.model.block import block
from palmetto.model.experts.router import Routing
from palmetto.model.layout import Arranged, Fetch, Layer, Stacked
from palmetto.model.lookup import lookup
from palmetto.model.norms import NORMS, normalize
from palmetto.model.tuning import Tuning
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model
from palmetto.recipe.parts import Turn

Rematerialize = Literal["nothing", "projections", "block"]

LayerAttention = Callable[[int, Layer, jax.Array, jax.Array, jax.Array, Any], tuple[jax.Array, Any]]
"""(number of the layer, or of the first of its kind, layer, q [B, T, H, Q], k and v [B, T, K, Q], what attention keeps)
→ the result [B, T, H, Q], and what is kept then. Queries come scaled, queries and keys turned by their positions."""


class Forward(NamedTuple):
    """The forward pass of a model: `begin`, `through` its layers, `end`.

    Whoever runs a model calls these three: how weights arrive and how attention is done are arguments.
    """

    model: Model
    tuning: Tuning
    mesh: Mesh = ONE_DEVICE
    rematerialize: Rematerialize | None = "nothing"
    """What the backward pass computes again; None: there is no backward pass."""
    embedding_gradient: float = 1.0
    """The share of its gradient that reaches the embedding from its rows (GLM-130B, arXiv 2210.02414)."""

    def states(
        self,
        arranged: Arranged,
        tokens: jax.Array,
        *,
        prefix: jax.Array | None = None,
        fetch: Fetch | None = None,
    ) -> tuple[jax.Array, Routing | None]:
        """Returns the final states [B, T, D] of whole sequences, and what routers did.

        Tokens [B, T] are int32; of sequences that devices share, this device's. The other arguments are as of
        `whole_sequences` and `through`.
        """
        positions = local_positions(tokens.shape[1], self.mesh)
        x = self.begin(arranged, tokens, positions)
        x, routing, _ = self.through(arranged.layers, x, positions, self.whole_sequences(prefix), fetch=fetch)
        return self.end(arranged, x), routing

    def begin(self, ends: Arranged, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        """Returns the first layer's input [B, T, D] in the activation type.

        That is rows of the embedding, and what positions add. `ends`: what stands outside the layers. Tokens [B, T] and
        their positions, [T] or [B, T], are int32.
        """
        return embed(ends, tokens, positions, self.model, self.embedding_gradient)

    def through(
        self,
        layers: Stacked | tuple[Layer, ...],
        x: jax.Array,
        positions: jax.Array,
        attend: LayerAttention,
        kept: Any = None,
        *,
        fetch: Fetch | None = None,
    ) -> tuple[jax.Array, Routing | None, Any]:
        """Returns x [B, T, D] behind these layers, what routers did, and what attention keeps.

        `layers`: whole periods of a model's. `kept`: what attention hands from layer to layer, a pytree. `fetch` makes
        each layer's arrays whole when it is their turn, once more in the backward pass.
        Routing comes stacked over the layers that have experts, in their order; None where none has.
        """
        turn = turning(positions, self.model)

        def apply(kind: int, layer: Layer, x: jax.Array, kept: Any) -> tuple[jax.Array, Routing | None, Any]:
            layer = {n: checkpoint_name(array, "fetched") for n, array in (fetch(layer) if fetch else layer).items()}

            def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
                nonlocal kept
                attended, kept = attend(kind, layer, q, k, v, kept)
                return attended

            x, routing = block(layer, x, turn, self.model, attention, self.tuning, self.mesh)
            return x, routing, kept

        if self.rematerialize is not None:
            # Also where there is nothing to fetch: a program of another form is compiled to other roundings.
            apply = jax.checkpoint(apply, static_argnums=0, policy=_KEPT[self.rematerialize])
        return _through(layers, x, apply, kept)

    def end(self, ends: Arranged, x: jax.Array) -> jax.Array:
        """Returns the final states for the logits: N(x), over √D where the embedding is tied. x is [..., D]."""
        if self.model.norm_position in ("pre", "sandwich"):
            return normalize(NORMS[self.model.norm], x, ends.ends, "final_norm")
        return x / math.sqrt(self.model.d_model) if self.model.tied_embedding else x

    def whole_sequences(self, prefix: jax.Array | None = None) -> LayerAttention:
        """Returns attention among the positions of whole sequences, which keeps nothing.

        `prefix` [B] of int32: so many first positions see each other.
        """

        def attend(
            kind: int, layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: None
        ) -> tuple[jax.Array, None]:
            of_layer = self.model.attention_of(kind)
            return attention(layer, q, k, v, self.model, of_layer, self.tuning, prefix, self.mesh), None

        return attend


def local_positions(length: int, mesh: Mesh) -> jax.Array:
    """Returns the positions [length] that this device holds of each sequence: all, or its share."""
    positions = jnp.arange(length)
    return positions if mesh.sequence == 1 else positions + length * jax.lax.axis_index("sequence")


_KEPT = {
    "nothing": jax.checkpoint_policies.save_anything_except_these_names("fetched"),
    "projections": jax.checkpoint_policies.save_only_these_names("projections"),
    "block": jax.checkpoint_policies.nothing_saveable,
}
"""What the backward pass need not compute again; it never keeps what was fetched."""

Apply = Callable[[int, Layer, jax.Array, Any], tuple[jax.Array, Routing | None, Any]]
"""(number of the layer, or of the first of its kind, layer, x, what attention keeps) → as `Forward.through`."""


def _through(
    layers: Stacked | tuple[Layer, ...], x: jax.Array, apply: Apply, kept: Any
) -> tuple[jax.Array, Routing | None, Any]:
    if not isinstance(layers, Stacked):
        return _in_turn(layers, x, apply, kept)

    def one(carry: tuple[jax.Array, Any], kinds: tuple[Layer, ...]) -> tuple[tuple[jax.Array, Any], Routing | None]:
        x, routing, kept = _in_turn(kinds, carry[0], apply, carry[1])
        return (x, kept), routing

    (x, kept), routing = jax.lax.scan(one, (x, kept), layers.kinds)
    return x, jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), routing), kept


def _in_turn(layers: tuple[Layer, ...], x: jax.Array, apply: Apply, kept: Any) -> tuple[jax.Array, Routing | None, Any]:
    routings = []
    for number, layer in enumerate(layers):
        x, routing, kept = apply(number, layer, x, kept)
        routings += [] if routing is None else [routing]
    return x, jax.tree.map(lambda *arrays: jnp.stack(arrays), *routings) if routings else None, kept


def turning(positions: jax.Array, model: Model) -> Turn | None:
    """Returns what turns queries and keys at integer positions, [T] or [B, T], where the model's positions do."""
    return model.positions.turn(model.attention.seen_as(positions), model.query_size)


def embed(
    arranged: Arranged, tokens: jax.Array, positions: jax.Array, model: Model, gradient: float = 1.0
) -> jax.Array:
    """Returns rows of the embedding [B, T, D] in the activation type, with what positions, [T] or [B, T], add.

    `gradient`: the share of its gradient that reaches the embedding by this way (GLM-130B, arXiv 2210.02414).
    """
    x = _shrink_gradient(gradient, lookup(arranged.embedding, tokens))
    x = model.positions.embed(x, arranged.ends, model.attention.seen_as(positions))
    if model.embedding_norm:
        x = normalize(NORMS[model.norm], x, arranged.ends, "embedding_norm")
    return x.astype(model.activations)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _shrink_gradient(share: float, x: jax.Array) -> jax.Array:
    """Returns x, whose gradient is multiplied by `share`."""
    return x


_shrink_gradient.defvjp(lambda share, x: (x, None), lambda share, _, d: (d if share == 1 else share * d,))


def logits(unembedding: jax.Array, states: jax.Array) -> jax.Array:
    """Returns the logits states · unembeddingᵀ in float32 [..., V], of final states [..., D]."""
    return jnp.einsum("...d,vd->...v", states, unembedding.astype(states.dtype), preferred_element_type=jnp.float32)
