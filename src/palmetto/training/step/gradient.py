"""The gradient of a batch: of each leaf, summed in the tree over micro-batches, devices and pods."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.layout import Arranged, Layout
from palmetto.parallel import collectives
from palmetto.parallel.sharding import Sharding
from palmetto.parallel.zero import Zero
from palmetto.recipe import Recipe
from palmetto.training.step.loss import Batch, Losses, token_losses
from palmetto.training.step.pipelined import over_stages, pipelined_sums
from palmetto.training.step.reductions import sum_over_leaves


class Sums(NamedTuple):
    """Sums over the leaves of a batch."""

    gradients: Arranged
    losses: Losses


def spread_leaves(batch: Batch, sharding: Sharding) -> Batch:
    """Leaves [n, …] → [pod, micro-batch, data, expert, …]: which device takes which leaf, and when.

    A leaf's number in bits, from the lowest: expert, data, micro-batch, pod. A device's place along data and pods is
    its bits reversed (collectives.py).
    """
    pods, data, experts = (sharding.sizes[axis] for axis in ("pod", "data", "expert"))
    by_pod, by_data = (jnp.array(collectives.reversed_bits(size)) for size in (pods, data))

    def spread(array: jax.Array) -> jax.Array:
        whole = array.reshape(pods, -1, data, experts, *array.shape[1:])
        return whole if pods * data == 1 else whole[by_pod][:, :, by_data]

    return jax.tree.map(spread, batch)


def leaf_losses(
    recipe: Recipe,
    layout: Layout,
    zero: Zero,
    weights: Arranged,
    leaf: Batch,
    predicted: jax.Array | None = None,
    **training: Any,
) -> Losses:
    """The losses of one leaf: on a mesh that divides sequences, what this device's positions add to them.

    `weights`: what this device holds of them. `predicted`: what sums over tokens are divided by, where not all are
    scored. `training`: what `token_losses` takes besides.
    """
    predicted = predicted_of(leaf, layout, predicted)
    leaf = own_positions(leaf, layout.sequence)
    return token_losses(weights, leaf, recipe.model, layout, predicted=predicted, fetch=zero.fetching, **training)


def predicted_of(leaf: Batch, layout: Layout, predicted: jax.Array | None) -> jax.Array | None:
    """What a leaf's sums over tokens are divided by; None where its own number of tokens will do."""
    if layout.sequence == 1 or predicted is not None:
        return predicted
    return jnp.float32(leaf.tokens.shape[-2] * (leaf.tokens.shape[-1] - 1))


def own_positions(batch: Batch, devices: int) -> Batch:
    """This device's share of each sequence: as many inputs, and with them the targets, as of its neighbours."""
    if devices == 1:
        return batch
    length = (batch.tokens.shape[-1] - 1) // devices
    start = jax.lax.axis_index("sequence") * length

    def own(array: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(array, start, length + 1, axis=-1)

    return batch._replace(tokens=own(batch.tokens), scored=None if batch.scored is None else own(batch.scored))


def sum_gradients(
    recipe: Recipe,
    layout: Layout,
    sharding: Sharding,
    zero: Zero,
    arranged: Arranged,
    leaves: Batch,
    *,
    count: int,
    scale: jax.Array | float = 1.0,
    predicted: jax.Array | None = None,
) -> Sums:
    """Σ over the `count` leaves of the batch, of which this device has its micro-batches [m, …], the objective times
    `scale`.

    `arranged` is what it holds of the weights; the gradients come as the parts that it updates, and still to be brought
    together by `meet`. `predicted`: scored tokens of a leaf, the mean over the batch, where not all are scored.
    """
    data, stages, training = sharding.group("data"), sharding.group("stage"), recipe.training
    weights = zero.whole(arranged)

    def reduce(sums: Sums) -> Sums:
        losses = jax.tree.map(partial(collectives.all_reduce, group=data), sums.losses)
        return Sums(zero.reduce(sums.gradients), losses)

    def objective(weights: Arranged, leaf: Batch) -> tuple[jax.Array, Losses]:
        losses = leaf_losses(
            recipe,
            layout,
            zero,
            weights,
            leaf,
            predicted,
            z_loss=training.z_loss,
            rematerialize=training.rematerialize,
            embedding_gradient=training.embedding_gradient,
        )
        return scale * losses.objective, losses

    def leaf_sums(leaf: Batch) -> Sums:
        return Sums(*jax.grad(objective, has_aux=True)(weights, leaf))

    if stages.size > 1:
        predicted, own = predicted_of(leaves, layout, predicted), own_positions(leaves, layout.sequence)
        sums = Sums(*pipelined_sums(recipe, layout, sharding, zero, weights, own, scale=scale, predicted=predicted))
    elif zero.whole_leaves:
        sums = sum_over_leaves(leaf_sums, leaves, reduce=reduce, always_in_loop=count > 1)
    else:
        sums = sum_over_leaves(lambda leaf: reduce(leaf_sums(leaf)) if data.elastic else leaf_sums(leaf), leaves)
    if not data.elastic:
        sums = reduce(sums)
    sums = Sums(zero.own_gradients(sums.gradients), sums.losses)
    return jax.tree.map(partial(collectives.all_reduce, group=sharding.group("pod")), sums)


def meet(sums: Sums, sharding: Sharding, zero: Zero) -> Sums:
    """The sums that devices have which share sequences, experts or layers, made one: last of all, so that the tree over
    leaves, data and pods is the same whatever these are."""
    gradients, losses = sums
    for group in map(sharding.group, ("expert", "sequence")):
        losses = jax.tree.map(partial(collectives.all_reduce, group=group), losses)
    gradients, stages = zero.across(gradients), sharding.group("stage")
    return Sums(*over_stages(gradients, losses, stages)) if stages.size > 1 else Sums(gradients, losses)
