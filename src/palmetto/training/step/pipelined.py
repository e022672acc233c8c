"""The gradient of a batch whose leaves pass through a pipeline of stages, summed in the same tree."""

from functools import partial

import jax
import jax.numpy as jnp

from palmetto.model.decoder import embed, final_norm, local_positions, through_layers
from palmetto.model.experts.router import Routing
from palmetto.model.layout import Arranged, Layer, Stacked, with_ends
from palmetto.parallel import collectives, pipeline
from palmetto.training.step.context import Context
from palmetto.training.step.loss import Batch, Losses, expert_objective, state_losses

Layers = Stacked | tuple[Layer, ...]


def pipelined_sums(
    context: Context,
    arranged: Arranged,
    leaves: Batch,
    *,
    scale: jax.Array,
    target_count: jax.Array | None,
) -> tuple[Arranged, Losses]:
    """Σ over this device's leaves [m, …] and, if the run is elastic, over those of its neighbours along data.

    `arranged` has this stage's layers, `leaves` this device's share of the positions. The objective is multiplied by
    `scale`; sums over a leaf's tokens are divided by `target_count`, where not by their own number.
    """
    recipe, tuning, sharding, zero = context
    model, training, mesh = recipe.model, recipe.training, recipe.mesh
    data, stages = sharding.group("data"), sharding.group("stage")
    fetch = zero.gather_layer

    def whole(ends: Arranged) -> Arranged:
        return with_ends(ends, fetch) if fetch else ends

    def first(ends: Arranged, leaf: Batch) -> jax.Array:
        inputs = leaf.tokens[:, :-1]
        places = local_positions(inputs.shape[1], mesh)
        return embed(whole(ends), inputs, places, model, training.embedding_gradient)

    def stage(layers: Layers, x: jax.Array, leaf: Batch) -> tuple[jax.Array, jax.Array, Routing | None]:
        x, routing = through_layers(
            layers, x, model, tuning, training.rematerialize, mesh=mesh, prefix=leaf.prefix, fetch=fetch
        )
        return x, jnp.float32(scale * expert_objective(routing, model) / stages.size), routing

    def last(ends: Arranged, x: jax.Array, leaf: Batch) -> tuple[jax.Array, Losses]:
        ends = whole(ends)
        states = final_norm(ends, x, model)
        losses = state_losses(states, ends, leaf, tuning, z_loss=training.z_loss, target_count=target_count)
        return scale * losses.objective, losses

    def reduce(sums: pipeline.StageSums) -> pipeline.StageSums:
        """Of one leaf, over the devices along data."""
        gradients = zero.reduce_gradients(sums.ends._replace(layers=sums.layers))
        sums = jax.tree.map(partial(collectives.all_reduce, group=data), sums._replace(ends=(), layers=()))
        return sums._replace(ends=gradients._replace(layers=()), layers=gradients.layers)

    sums = pipeline.pipeline_gradients(
        first, stage, last, arranged._replace(layers=()), arranged.layers, leaves,
        schedule=mesh.schedule, reduce=reduce if data.elastic else lambda sums: sums,
    )  # fmt: skip
    losses = sums.end_report._replace(objective=sums.objective / scale, routing=sums.stage_report)
    return sums.ends._replace(layers=sums.layers), losses


def over_stages(gradients: Arranged, losses: Losses, stages: collectives.Group) -> tuple[Arranged, Losses]:
    """What the stages share, once all else is summed.

    No more than two stages have a share in the ends' gradient, so that its bits do not depend on how many there are. It
    comes after the sums over all other axes, which are so the same tree for each of the two, however long the axes are.
    """
    routing = jax.tree.map(lambda x: collectives.gather(x, 0, stages), losses.routing)
    ends, losses = jax.tree.map(
        partial(collectives.all_reduce, group=stages), (gradients._replace(layers=()), losses._replace(routing=None))
    )
    return ends._replace(layers=gradients.layers), losses._replace(routing=routing)
