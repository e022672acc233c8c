"""The gradient of a batch, with its sums over micro-batches and mesh axes in a fixed order.

Floating-point addition is not associative, so the order of the sums is the order of the bits (docs/determinism.md).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from palmetto.model.layout import Arranged, map_named
from palmetto.model.weights import Parameters
from palmetto.parallel import collectives
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.objectives import PreferencesObjective
from palmetto.training.step.context import Context
from palmetto.training.step.loss import Batch, Losses, token_losses
from palmetto.training.step.pipelined import over_stages, pipelined_sums
from palmetto.training.step.reductions import sum_over_leaves


class BatchSums(NamedTuple):
    """Holds the gradients and losses summed over the leaves of a batch."""

    gradients: Arranged
    losses: Losses


LEAVES = PartitionSpec("pod", None, "data", "expert")
"""The partition of a batch's leaves over the mesh once `spread_leaves` has ordered them."""


def spread_leaves(batch: Batch, sharding: Sharding) -> Batch:
    """Returns leaves [n, …] as [pod, micro-batch, data, expert, …], which assigns each leaf to a device and a time.

    The bits of a leaf's number are, from the lowest: expert, data, micro-batch, pod. The index of a device along data
    and pod is those bits reversed (collectives.py).
    """
    pods, data, experts = (sharding.sizes[axis] for axis in ("pod", "data", "expert"))
    by_pod, by_data = (jnp.array(collectives.reversed_bits(size)) for size in (pods, data))

    def spread(array: jax.Array) -> jax.Array:
        whole = array.reshape(pods, -1, data, experts, *array.shape[1:])
        return whole if pods * data == 1 else whole[by_pod][:, :, by_data]

    return jax.tree.map(spread, batch)


def sum_gradients(
    context: Context,
    parameters: Parameters,
    spread: Batch,
    *,
    count: int,
    scale: jax.Array,
    target_count: jax.Array | None,
) -> BatchSums:
    """Returns the sums over a batch of `count` leaves, of which this device holds those in `spread`.

    `parameters` are this device's part, sharded as between steps; the gradients cover the partition that it updates.
    The objective is multiplied by `scale`. `target_count` is the mean number of scored tokens per leaf, or None if all
    tokens are scored.

    The sums are taken in this order:
        data             for each micro-batch, before the next is added, if the run is elastic
        micro-batches    in the fixed tree
        data             once over all micro-batches, if the run is not elastic
        pod
        expert, sequence, stage    in `sum_over_shares`, last, so that the tree above never changes
    """
    sums = sum_over_batch(context, parameters, spread, count=count, scale=scale, target_count=target_count)
    return sum_over_shares(context, sums)


def sum_over_batch(
    context: Context,
    parameters: Parameters,
    spread: Batch,
    *,
    count: int,
    scale: jax.Array,
    target_count: jax.Array | None,
) -> BatchSums:
    """Returns the sums of `sum_gradients` over micro-batches, data and pod; pods that exchange sums stop here."""
    recipe, tuning, sharding, zero = context
    data, pod, sequence, training = sharding.group("data"), sharding.group("pod"), recipe.mesh.sequence, recipe.training
    leaves = jax.tree.map(lambda array: array.reshape(-1, *array.shape[4:]), spread)
    weights = zero.gather_weights(context.arrange(zero.own_partition(parameters)))

    def targets(leaf: Batch) -> jax.Array | None:
        if sequence == 1 or target_count is not None:
            return target_count  # None: this device holds all tokens of a leaf
        return jnp.float32(leaf.tokens.shape[-2] * (leaf.tokens.shape[-1] - 1))

    def hold(name: str, weight: jax.Array) -> jax.Array:
        return jax.lax.stop_gradient(weight) if sharding.arranged[name].frozen else weight

    def objective(weights: Arranged, leaf: Batch) -> tuple[jax.Array, Losses]:
        losses = token_losses(
            map_named(hold, weights),
            split_sequences(leaf, sequence),
            recipe.model,
            tuning,
            mesh=recipe.mesh,
            z_loss=training.z_loss,
            rematerialize=training.rematerialize,
            embedding_gradient=training.embedding_gradient,
            target_count=targets(leaf),
            fetch=zero.gather_layer,
            dropout=training.dropout,
            beta=training.objective.beta if isinstance(training.objective, PreferencesObjective) else None,
        )
        return scale * losses.objective, losses

    def of_leaf(leaf: Batch) -> BatchSums:
        return BatchSums(*jax.grad(objective, has_aux=True)(weights, leaf))

    def over_data(sums: BatchSums) -> BatchSums:
        losses = jax.tree.map(partial(collectives.all_reduce, group=data), sums.losses)
        return BatchSums(zero.reduce_gradients(sums.gradients), losses)

    if sharding.sizes["stage"] > 1:
        own = split_sequences(leaves, sequence)
        sums = BatchSums(*pipelined_sums(context, weights, own, scale=scale, target_count=targets(leaves)))
    elif zero.whole_leaves:
        sums = sum_over_leaves(of_leaf, leaves, reduce=over_data, always_in_loop=count > 1)
    elif data.elastic:
        sums = sum_over_leaves(lambda leaf: over_data(of_leaf(leaf)), leaves)
    else:
        sums = sum_over_leaves(of_leaf, leaves)
    if not data.elastic:
        sums = over_data(sums)
    sums = BatchSums(zero.own_gradients(sums.gradients), sums.losses)
    return jax.tree.map(partial(collectives.all_reduce, group=pod), sums)


def sum_over_shares(context: Context, sums: BatchSums) -> BatchSums:
    """Returns the last sums of `sum_gradients`, over devices that share experts, sequences or layers.

    Gradients of experts are not summed over the axis expert: each device has those of its own experts from every leaf.
    """
    sharding = context.sharding
    expert, sequence, stage = (sharding.group(axis) for axis in ("expert", "sequence", "stage"))

    def over_expert(name: str, gradient: jax.Array) -> jax.Array:
        return gradient if sharding.arranged[name].of_expert else collectives.all_reduce(gradient, expert)

    losses = jax.tree.map(partial(collectives.all_reduce, group=expert), sums.losses)
    sums = BatchSums(map_named(over_expert, sums.gradients), losses)
    sums = jax.tree.map(partial(collectives.all_reduce, group=sequence), sums)
    return BatchSums(*over_stages(*sums, stage)) if stage.size > 1 else sums


def split_sequences(batch: Batch, devices: int) -> Batch:
    """Returns this device's equal share of each sequence, inputs with their targets, shape [..., M / devices + 1]."""
    if devices == 1:
        return batch
    length = (batch.tokens.shape[-1] - 1) // devices
    start = jax.lax.axis_index("sequence") * length

    def own(array: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(array, start, length + 1, axis=-1)

    return batch._replace(tokens=own(batch.tokens), scored=None if batch.scored is None else own(batch.scored))
