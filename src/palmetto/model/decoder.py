"""The decoder's forward pass, written once for training, validation, pipelines and decoding."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from palmetto.model.attention import attention
from palmetto.model.block import block, keep
from palmetto.model.dropout import Dropout
from palmetto.model.experts.router import Routing
from palmetto.model.layout import Arranged, Fetch, Layer, Stacked
from palmetto.model.lookup import lookup
from palmetto.model.norms import NORMS, normalize
from palmetto.model.products import HELD, by_native, held_products
from palmetto.model.sequences import WHOLE, Sequences
from palmetto.model.sums import identity
from palmetto.model.tuning import Tuning
from palmetto.native.products import product
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model
from palmetto.recipe.parts import Turn

Rematerialize = Literal["nothing", "projections", "block"]

LayerAttention = Callable[[int, Layer, jax.Array, jax.Array, jax.Array, Any], tuple[jax.Array, Any]]
"""(layer number, or that of the first layer of its kind, layer, q [B, T, H, Q], k and v [B, T, K, Q], attention state)
→ the output [B, T, H, Q] and the new attention state. Queries are scaled; queries and keys are rotated."""


class Forward(NamedTuple):
    """Runs the forward pass of a model in three parts: `begin`, `through` its layers, `end`.

    Training and decoding call the same three; how weights are fetched and how attention is computed are arguments.
    """

    model: Model
    tuning: Tuning
    mesh: Mesh = ONE_DEVICE
    rematerialize: Rematerialize | None = "nothing"
    """The part that the backward pass recomputes; None if there is no backward pass."""
    embedding_gradient: float = 1.0
    """The fraction of the gradient that reaches the embedding through the lookup (GLM-130B, arXiv 2210.02414)."""
    place: Callable[[jax.Array], jax.Array] = identity
    """Places the input of each layer, [B, T, D], on devices, where XLA alone would not find a good place."""

    def states(
        self,
        arranged: Arranged,
        tokens: jax.Array,
        *,
        sequences: Sequences = WHOLE,
        fetch: Fetch | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[jax.Array, Routing | None]:
        """Returns the final states [B, T, D] of whole sequences, and the routers' statistics.

        Tokens [B, T] are int32, those of this device if devices share sequences. The other arguments are those of
        `whole_sequences` and `through`.
        """
        positions = sequences.positions(local_places(tokens.shape[1], self.mesh))
        x = self.begin(arranged, tokens, positions, dropout)
        attend = self.whole_sequences(sequences)
        x, routing, _ = self.through(arranged.layers, x, positions, attend, fetch=fetch, dropout=dropout)
        return self.end(arranged, x), routing

    def begin(
        self, ends: Arranged, tokens: jax.Array, positions: jax.Array, dropout: Dropout | None = None
    ) -> jax.Array:
        """Returns the first layer's input [B, T, D] in the activation type: the token and position embeddings.

        `ends` holds the arrays outside the layers. Tokens [B, T] and their positions, [T] or [B, T], are int32.
        """
        x = embed(ends, tokens, positions, self.model, self.embedding_gradient)
        return x if dropout is None else dropout.embedding(x)

    def through(
        self,
        layers: Stacked | tuple[Layer, ...],
        x: jax.Array,
        positions: jax.Array,
        attend: LayerAttention,
        kept: Any = None,
        *,
        fetch: Fetch | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[jax.Array, Routing | None, Any]:
        """Returns the output [B, T, D] of these layers for x, the routers' statistics, and the attention state.

        `layers`: whole periods of the model's layers. `kept`: the attention state, a pytree handed from layer to layer.
        `fetch` gathers each layer's arrays just before they are used, and again in the backward pass.
        The statistics are stacked over the layers with experts, in order; None if there are none.
        """
        turn = turning(positions, self.model)

        def apply(
            kind: int, layer: Layer, x: jax.Array, kept: Any, number: jax.Array | int | None
        ) -> tuple[jax.Array, Routing | None, Any]:
            layer = {n: checkpoint_name(array, "fetched") for n, array in (fetch(layer) if fetch else layer).items()}

            def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
                nonlocal kept
                attended, kept = attend(kind, layer, q, k, v, kept)
                return attended

            drop = keep if dropout is None or number is None else partial(dropout.residual, layer=number)
            x, routing = block(layer, self.place(x), turn, self.model, attention, self.tuning, self.mesh, drop)
            return x, routing, kept

        nothing = fetch is None and self.rematerialize == "nothing"
        by_kernels = self.tuning.native and self.model.experts is None
        if self.rematerialize is not None and not (nothing and by_kernels):
            # XLA alone: a program of another form would be compiled with other roundings. Kernels round in themselves,
            # and JAX would round once more all that is kept for the backward pass. Experts are computed by XLA too.
            apply = jax.checkpoint(apply, static_argnums=0, policy=_KEPT[self.rematerialize])
        return _through(layers, x, apply, kept, numbered=dropout is not None)

    def end(self, ends: Arranged, x: jax.Array) -> jax.Array:
        """Returns the final states for the logits: x [..., D] normalized and divided (`Model.logit_divisor`)."""
        if self.model.norm_position in ("pre", "sandwich"):
            return normalize(NORMS[self.model.norm], x, ends.ends, "final_norm", native=self.tuning.native)
        return x / self.model.logit_divisor

    def whole_sequences(self, sequences: Sequences = WHOLE) -> LayerAttention:
        """Returns the attention of whole sequences, which has no state."""

        def attend(
            kind: int, layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: None
        ) -> tuple[jax.Array, None]:
            of_layer = self.model.attention_of(kind)
            return attention(layer, q, k, v, self.model, of_layer, self.tuning, sequences, self.mesh), None

        return attend


def local_places(length: int, mesh: Mesh) -> jax.Array:
    """Returns the places [length] of each sequence that this device holds: all, or its share."""
    places = jnp.arange(length)
    return places if mesh.sequence == 1 else places + length * jax.lax.axis_index("sequence")


_KEPT = {
    "nothing": jax.checkpoint_policies.save_anything_except_these_names("fetched"),
    "projections": jax.checkpoint_policies.save_only_these_names("projections"),
    "block": jax.checkpoint_policies.nothing_saveable,
}
"""The checkpoint policy for each choice of what is recomputed; fetched weights are never saved."""

Apply = Callable[[int, Layer, jax.Array, Any, jax.Array | int | None], tuple[jax.Array, Routing | None, Any]]
"""(layer number, or that of the first layer of its kind, layer, x, attention state, layer number or None) → the result
of `Forward.through`."""


def _through(
    layers: Stacked | tuple[Layer, ...], x: jax.Array, apply: Apply, kept: Any, numbered: bool
) -> tuple[jax.Array, Routing | None, Any]:
    if not isinstance(layers, Stacked):
        return _in_turn(layers, x, apply, kept, 0 if numbered else None)

    def one(
        carry: tuple[jax.Array, Any], period: tuple[tuple[Layer, ...], jax.Array | None]
    ) -> tuple[tuple[jax.Array, Any], Routing | None]:
        kinds, first = period
        x, routing, kept = _in_turn(kinds, carry[0], apply, carry[1], first)
        return (x, kept), routing

    periods = len(next(iter(layers.kinds[0].values())))
    firsts = len(layers.kinds) * jnp.arange(periods) if numbered else None
    (x, kept), routing = jax.lax.scan(one, (x, kept), (layers.kinds, firsts))
    return x, jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), routing), kept


def _in_turn(
    layers: tuple[Layer, ...], x: jax.Array, apply: Apply, kept: Any, first: jax.Array | int | None
) -> tuple[jax.Array, Routing | None, Any]:
    routings = []
    for number, layer in enumerate(layers):
        x, routing, kept = apply(number, layer, x, kept, None if first is None else first + number)
        routings += [] if routing is None else [routing]
    return x, jax.tree.map(lambda *arrays: jnp.stack(arrays), *routings) if routings else None, kept


def turning(positions: jax.Array, model: Model) -> Turn | None:
    """Returns the function that rotates queries and keys at integer positions, [T] or [B, T]; None if nothing does."""
    return model.positions.turn(model.attention.seen_as(positions), model.query_size)


def embed(
    arranged: Arranged, tokens: jax.Array, positions: jax.Array, model: Model, gradient: float = 1.0
) -> jax.Array:
    """Returns the token embeddings [B, T, D] in the activation type, with the embeddings of positions [T] or [B, T].

    `gradient`: the fraction of the gradient that reaches the embedding through the lookup (GLM-130B, arXiv 2210.02414).
    """
    x = _shrink_gradient(gradient, lookup(arranged.embedding, tokens))
    x = model.positions.embed(x, arranged.ends, model.attention.seen_as(positions))
    if model.embedding_norm:
        x = normalize(NORMS[model.norm], x, arranged.ends, "embedding_norm")
    return x.astype(model.activations)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _shrink_gradient(share: float, x: jax.Array) -> jax.Array:
    """Returns x and multiplies its gradient by `share`."""
    return x


_shrink_gradient.defvjp(lambda share, x: (x, None), lambda share, _, d: (d if share == 1 else share * d,))


def logits(unembedding: jax.Array, states: jax.Array, native: bool = False) -> jax.Array:
    """Returns the logits states · unembeddingᵀ, float32 [..., V], for final states [..., D].

    native: use the kernels of `native`, for states [N, D].
    """
    if isinstance(unembedding, HELD):
        return held_products(states, (unembedding,), jnp.float32, transposed=True)[0]
    if by_native(states, native):
        return product([(states, unembedding)], jnp.float32, b_transposed=True)
    return jnp.einsum("...d,vd->...v", states, unembedding.astype(states.dtype), preferred_element_type=jnp.float32)
