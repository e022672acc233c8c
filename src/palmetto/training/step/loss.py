"""Token cross-entropy with z-loss, computed a block of logits at a time, and the auxiliary losses of experts."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.decoder import Forward, Rematerialize, local_places, logits
from palmetto.model.dropout import Dropout
from palmetto.model.experts.router import Routing
from palmetto.model.layout import Arranged, Fetch, with_ends
from palmetto.model.products import by_native, in_float32, in_own_type, transposed
from palmetto.model.sequences import Sequences
from palmetto.model.tuning import Tuning
from palmetto.native import pointwise
from palmetto.native.products import product
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model
from palmetto.training.step import preferences
from palmetto.training.step.blocks import Arrays, scan_blocks


class Batch(NamedTuple):
    """Holds training examples; the leading axes are leaves and sequences."""

    tokens: jax.Array
    """Token ids, int32 [..., M + 1]: positions 0 to M − 1 are inputs, positions 1 to M are targets."""
    scored: jax.Array | None = None
    """Mask of the tokens that are predicted, bool [..., M + 1]; None stands for all but the first."""
    prefix: jax.Array | None = None
    """Length of the prefix that attends bidirectionally, int32 [...]; None means no prefix."""
    starts: jax.Array | None = None
    """Place of the first token of each input's example, int32 [..., M]; None means one example each."""
    keys: jax.Array | None = None
    """Key of each sequence's dropout, uint32 [..., 2]; None means no dropout."""
    reference: jax.Array | None = None
    """The reference's log p(chosen) − log p(rejected) for each row, in nats, float32 [...]."""

    @property
    def sequences(self) -> Sequences:
        """Returns the prefixes and starts of the sequences, of a batch without leaves."""
        return Sequences(self.prefix, self.starts)


class Losses(NamedTuple):
    """Holds the mean losses per predicted token, as float32 scalars."""

    objective: jax.Array
    """The differentiated loss: cross_entropy + z_loss · z + the auxiliary losses of experts."""
    cross_entropy: jax.Array
    """Cross-entropy in nats per token."""
    z: jax.Array
    """log² Z, where Z is the softmax normalizer."""
    routing: Routing | None = None
    """Statistics of the routers, stacked over the layers that have experts."""


def token_losses(
    arranged: Arranged,
    batch: Batch,
    model: Model,
    tuning: Tuning,
    *,
    mesh: Mesh = ONE_DEVICE,
    z_loss: float = 0.0,
    rematerialize: Rematerialize = "nothing",
    embedding_gradient: float = 1.0,
    target_count: jax.Array | int | None = None,
    fetch: Fetch | None = None,
    dropout: float | None = None,
    beta: float | None = None,
) -> Losses:
    """Returns the mean losses of predicting the scored tokens of a batch [B, M + 1]; only `objective` has a derivative.

    Sums over tokens are divided by `target_count`, or by the batch's own count if it is None. `fetch` gathers sharded
    arrays: those of embedding and output at once, those of each layer when it runs. `dropout` is the rate. With `beta`
    the objective is that of preferences, whose loss takes the place of the cross-entropy.
    """
    arranged = with_ends(arranged, fetch)
    forward = Forward(model, tuning, mesh, rematerialize, embedding_gradient)
    inputs = batch.tokens[:, :-1]
    of_batch = batch_dropout(batch, dropout, local_places(inputs.shape[1], mesh))
    states, routing = forward.states(arranged, inputs, sequences=batch.sequences, fetch=fetch, dropout=of_batch)
    if beta is not None:
        losses = _of_preferences(states, arranged, batch, tuning, beta)
    else:
        losses = state_losses(states, arranged, batch, tuning, z_loss=z_loss, target_count=target_count)
    objective = losses.objective + expert_objective(routing, model)
    return losses._replace(objective=objective, routing=jax.lax.stop_gradient(routing))


def _of_preferences(states: jax.Array, arranged: Arranged, batch: Batch, tuning: Tuning, beta: float) -> Losses:
    """Returns the mean loss of preferences over rows, with the derivative through a weighted sum over tokens."""
    assert batch.reference is not None, "preferences are relative to a reference"
    sign = preferences.signs(batch.scored, batch.starts)
    margin, z = preferences.margins(*jax.lax.stop_gradient((states, arranged)), batch.tokens[:, 1:], sign, tuning)
    each, slope = preferences.preference_losses(margin, batch.reference, beta)
    weights = -slope[:, None] * sign / len(each)
    rows, targets = states.reshape(-1, states.shape[-1]), batch.tokens[:, 1:].reshape(-1)
    weighted, *_ = _summed_losses(
        rows, arranged.unembedding, targets, weights.reshape(-1), 0.0, tuning.logit_rows, tuning.native
    )
    value = jnp.mean(each)
    return Losses(value + (weighted - jax.lax.stop_gradient(weighted)), value, z)


def batch_dropout(batch: Batch, rate: float | None, places: jax.Array, first: jax.Array | int = 0) -> Dropout | None:
    """Returns the dropout of a batch without leaves, at these places and from layer `first` on; None if it has none."""
    if rate is None or batch.keys is None:
        return None
    return Dropout(batch.keys, places, rate, first)


def state_losses(
    states: jax.Array,
    arranged: Arranged,
    batch: Batch,
    tuning: Tuning,
    *,
    z_loss: float = 0.0,
    target_count: jax.Array | int | None = None,
) -> Losses:
    """Returns the losses of final states [B, M, D] without those of experts; the arguments are as in `token_losses`."""
    targets = batch.tokens[:, 1:].reshape(-1)
    weights = None if batch.scored is None else batch.scored[:, 1:].reshape(-1).astype(jnp.float32)
    if target_count is None:
        target_count = targets.shape[0] if weights is None else jnp.sum(weights)
    rows = states.reshape(-1, states.shape[-1])
    sums = _summed_losses(rows, arranged.unembedding, targets, weights, z_loss, tuning.logit_rows, tuning.native)
    objective, cross_entropy, z = (total / target_count for total in sums)
    return Losses(objective, *jax.lax.stop_gradient((cross_entropy, z)))


def expert_objective(routing: Routing | None, model: Model) -> jax.Array | float:
    """Returns the auxiliary losses that experts add to the objective, averaged over the layers that have experts."""
    if routing is None or model.experts is None:
        return 0.0
    balance, router_z = jnp.mean(routing.balance), jnp.mean(routing.z)
    return model.experts.balance_loss * balance + model.experts.router_z_loss * router_z


SummedLosses = tuple[jax.Array, jax.Array, jax.Array]


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _summed_losses(
    states: jax.Array,
    unembedding: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None,
    z_loss: float,
    logit_rows: int,
    native: bool,
) -> SummedLosses:
    """Returns objective, cross-entropy and log² Z of states [N, D] against targets [N], summed with weights [N].

    The gradient of the objective is computed in the forward pass, block by block, so that logits are neither stored
    nor computed twice.
    """
    losses, _ = _pass(states, unembedding, targets, weights, z_loss, logit_rows, native, with_gradient=False)
    return losses


class _Sums(NamedTuple):
    """Holds sums over blocks of rows; the derivatives are [D, V] in `_pass`, and [V, D] in `_native_pass`."""

    cross_entropy: jax.Array
    z: jax.Array
    d_unembedding: jax.Array


def _pass(
    states: jax.Array,
    unembedding: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None,
    z_loss: float,
    logit_rows: int,
    native: bool,
    with_gradient: bool,
) -> tuple[SummedLosses, tuple[jax.Array, jax.Array]]:
    def add_block(sums: _Sums, block: Arrays) -> tuple[_Sums, jax.Array]:
        rows, wanted, *weighted = block
        scores = logits(unembedding, rows, native)
        highest = jnp.max(scores, axis=-1, keepdims=True)
        exponentials = jnp.exp(scores - highest)
        normalizer = jnp.sum(exponentials, axis=-1, keepdims=True)
        log_z = highest + jnp.log(normalizer)
        losses, squares = log_z - jnp.take_along_axis(scores, wanted[:, None], axis=-1), jnp.square(log_z)
        weight = weighted[0][:, None] if weighted else None
        if weight is not None:
            losses, squares = losses * weight, squares * weight
        sums = sums._replace(cross_entropy=sums.cross_entropy + jnp.sum(losses), z=sums.z + jnp.sum(squares))
        if not with_gradient:
            return sums, rows
        is_target = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1) == wanted[:, None]
        d_scores = exponentials * ((1 + 2 * z_loss * log_z) / normalizer) - is_target
        if weight is not None:
            d_scores *= weight
        d_scores = d_scores.astype(states.dtype)
        d_unembedding = sums.d_unembedding + in_float32(transposed(rows), d_scores)
        return sums._replace(d_unembedding=d_unembedding), in_own_type(d_scores, unembedding.astype(states.dtype))

    nothing = _Sums(jnp.float32(0), jnp.float32(0), jnp.zeros(unembedding.shape[::-1], jnp.float32))
    arrays = (states, targets) if weights is None else (states, targets, weights)
    sums, d_states = scan_blocks(add_block, nothing, arrays, logit_rows)
    return (sums.cross_entropy + z_loss * sums.z, sums.cross_entropy, sums.z), (d_states, sums.d_unembedding.T)


def _native_pass(
    states: jax.Array,
    unembedding: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None,
    z_loss: float,
    logit_rows: int,
) -> tuple[SummedLosses, tuple[jax.Array, jax.Array]]:
    """Returns what `_pass` returns with the gradient, by the kernels of `native`."""
    weights = jnp.ones(targets.shape, jnp.float32) if weights is None else weights

    def add_block(sums: _Sums, block: Arrays) -> tuple[_Sums, jax.Array]:
        rows, wanted, weight = block
        scores = logits(unembedding, rows, native=True)
        found = pointwise.cross_entropy(scores, wanted, weight, z_loss, rows.dtype)
        d_unembedding = product([(found.gradient, rows)], jnp.float32, a_transposed=True)
        added = _Sums(jnp.sum(found.losses), jnp.sum(found.squares), d_unembedding)
        return jax.tree.map(jnp.add, sums, added), product([(found.gradient, unembedding)], rows.dtype)

    nothing = _Sums(jnp.float32(0), jnp.float32(0), jnp.zeros(unembedding.shape, jnp.float32))
    sums, d_states = scan_blocks(add_block, nothing, (states, targets, weights), logit_rows)
    return (sums.cross_entropy + z_loss * sums.z, sums.cross_entropy, sums.z), (d_states, sums.d_unembedding)


def _forward(
    states: jax.Array,
    unembedding: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None,
    z_loss: float,
    logit_rows: int,
    native: bool,
) -> tuple[SummedLosses, tuple[jax.Array, jax.Array]]:
    if by_native(states, native):
        return _native_pass(states, unembedding, targets, weights, z_loss, logit_rows)
    return _pass(states, unembedding, targets, weights, z_loss, logit_rows, native, with_gradient=True)


def _backward(
    z_loss: float, logit_rows: int, native: bool, gradient: tuple[jax.Array, jax.Array], d: SummedLosses
) -> tuple[jax.Array, jax.Array, None, None]:
    d_states, d_unembedding = gradient
    return d[0].astype(d_states.dtype) * d_states, d[0] * d_unembedding, None, None


_summed_losses.defvjp(_forward, _backward)
