"""The gradient of a batch whose leaves pass through a pipeline of stages, summed in the same tree."""

from functools import partial

import jax
import jax.numpy as jnp

from palmetto.model.decoder import Forward, local_places
from palmetto.model.experts.router import Routing
from palmetto.model.layout import Arranged, Layer, Stacked, with_ends
from palmetto.parallel import collectives, pipeline
from palmetto.training.step.context import Context
from palmetto.training.step.loss import Batch, Losses, batch_dropout, expert_objective, state_losses

Layers = Stacked | tuple[Layer, ...]


def pipelined_sums(
    context: Context,
    arranged: Arranged,
    leaves: Batch,
    *,
    scale: jax.Array,
    target_count: jax.Array | None,
) -> tuple[Arranged, Losses]:
    """Returns the gradients and losses of this device's leaves [m, …], summed over data too if the run is elastic.

    `arranged` holds the layers of this stage, `leaves` this device's share of the positions. The objective is
    multiplied by `scale`; sums over a leaf's tokens are divided by `target_count`, or by their number if it is None.
    """
    recipe, tuning, sharding, zero = context
    model, training, mesh = recipe.model, recipe.training, recipe.mesh
    data, stages = sharding.group("data"), sharding.group("stage")
    fetch = zero.gather_layer
    forward = Forward(model, tuning, mesh, training.rematerialize, training.embedding_gradient)

    def positions(length: int, leaf: Batch) -> jax.Array:
        return leaf.sequences.positions(local_places(length, mesh))

    def first_layer() -> jax.Array:
        return jax.lax.axis_index("stage") * (model.layers // stages.size)

    def first(ends: Arranged, leaf: Batch) -> jax.Array:
        inputs = leaf.tokens[:, :-1]
        dropout = batch_dropout(leaf, training.dropout, local_places(inputs.shape[1], mesh))
        return forward.begin(with_ends(ends, fetch), inputs, positions(inputs.shape[1], leaf), dropout)

    def stage(layers: Layers, x: jax.Array, leaf: Batch) -> tuple[jax.Array, jax.Array, Routing | None]:
        attend = forward.whole_sequences(leaf.sequences)
        dropout = batch_dropout(leaf, training.dropout, local_places(x.shape[1], mesh), first_layer())
        x, routing, _ = forward.through(layers, x, positions(x.shape[1], leaf), attend, fetch=fetch, dropout=dropout)
        return x, jnp.float32(scale * expert_objective(routing, model) / stages.size), routing

    def last(ends: Arranged, x: jax.Array, leaf: Batch) -> tuple[jax.Array, Losses]:
        ends = with_ends(ends, fetch)
        states = forward.end(ends, x)
        losses = state_losses(states, ends, leaf, tuning, z_loss=training.z_loss, target_count=target_count)
        return scale * losses.objective, losses

    def reduce(sums: pipeline.StageSums) -> pipeline.StageSums:
        """Returns the sums of one leaf added over the devices along data."""
        gradients = zero.reduce_gradients(sums.ends._replace(layers=sums.layers))
        sums = jax.tree.map(partial(collectives.all_reduce, group=data), sums._replace(ends=(), layers=()))
        return sums._replace(ends=gradients._replace(layers=()), layers=gradients.layers)

    sums = pipeline.pipeline_gradients(
        first,
        stage,
        last,
        arranged._replace(layers=()),
        arranged.layers,
        leaves,
        schedule=mesh.schedule,
        reduce=reduce if data.elastic else lambda sums: sums,
    )
    losses = sums.end_report._replace(objective=sums.objective / scale, routing=sums.stage_report)
    return sums.ends._replace(layers=sums.layers), losses


def over_stages(gradients: Arranged, losses: Losses, stages: collectives.Group) -> tuple[Arranged, Losses]:
    """Returns gradients and losses summed over stages, the last of all sums; layers keep the gradients of their stage.

    At most two stages contribute to the gradient of embedding and output, so its bits do not depend on the number of
    stages. The sums over all other axes come first, so that their tree is the same in both stages.
    """
    routing = jax.tree.map(lambda x: collectives.gather(x, 0, stages), losses.routing)
    ends, losses = jax.tree.map(
        partial(collectives.all_reduce, group=stages), (gradients._replace(layers=()), losses._replace(routing=None))
    )
    return ends._replace(layers=gradients.layers), losses._replace(routing=routing)
