"""Pipeline parallelism: each device along an axis holds consecutive layers, and micro-batches pass through them.

All devices take every branch together (schedules.py). A device that has no micro-batch computes a result that is
discarded, in time that it would otherwise spend waiting. So a stage may contain collectives along other axes of the
mesh, including those that XLA inserts for the axis model. If devices took different branches, these collectives would
wait for devices that never arrive; on a CPU, for instance, a permutation waits for every device of the program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from palmetto.parallel import running_tree
from palmetto.parallel.schedules import Schedule, timetable

Tree = Any
"""A pytree of arrays."""

First = Callable[[Tree, Tree], jax.Array]
"""(ends, micro-batch) → the first layer's input [B, T, D]."""
Stage = Callable[[Tree, jax.Array, Tree], tuple[jax.Array, jax.Array, Tree]]
"""(layers, x, micro-batch) → the next layer's input, these layers' term of the objective, their report."""
Last = Callable[[Tree, jax.Array, Tree], tuple[jax.Array, Tree]]
"""(ends, the last layer's output, micro-batch) → the objective, its report."""


class StageSums(NamedTuple):
    """Holds a stage's contribution to the sums over micro-batches."""

    ends: Tree
    """The gradient of the weights before the first layer and after the last; zeros on the stages between."""
    layers: Tree
    """The gradient of this stage's layers."""
    objective: jax.Array
    """The stage's terms of the objective, a scalar; the last stage adds the objective that `last` returns."""
    end_report: Tree
    """The report of `last`; zeros on all stages but the last."""
    stage_report: Tree
    """The report of `stage` for this stage's layers."""


class _Carry(NamedTuple):
    """Holds a device's state between ticks."""

    inputs: jax.Array
    """The stage's input of each micro-batch in flight, [in flight, B, T, D]; backward recomputes the stage from it."""
    activation: jax.Array
    """The stage's next input, received from the previous stage."""
    cotangent: jax.Array
    """The derivative of the objective with respect to the stage's output, received from the next stage."""
    sums: running_tree.Levels


def pipeline_gradients(
    first: First,
    stage: Stage,
    last: Last,
    ends: Tree,
    layers: Tree,
    micro_batches: Tree,
    *,
    schedule: Schedule,
    axis: str = "stage",
    reduce: Callable[[StageSums], StageSums] = lambda sums: sums,
) -> StageSums:
    """Returns this stage's contribution to the objective, its gradient and its reports, summed over micro-batches.

    It is called inside a `jax.shard_map` that is manual over `axis`. `layers` are this device's own; every device has a
    copy of `ends` and of `micro_batches`, arrays [M, …]. The objective of a micro-batch is the result of `last` plus
    the terms of all stages. Sums are taken in the tree of `training.reductions.sum_over_leaves`. `reduce` is applied to
    the sums of each micro-batch before they are added, and may change their shapes. The caller sums `ends`, the
    objective and the end report over stages at the end, after all other sums.

    A stage keeps only its inputs and recomputes its forward pass before the backward pass.
    """
    stages, place = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
    is_first, is_last = place == 0, place == stages - 1
    count = jax.tree.leaves(micro_batches)[0].shape[0]
    table = timetable(schedule, stages, count)
    slots = int(table.in_flight.max())

    def micro_batch(number: jax.Array) -> Tree:
        return running_tree.at(micro_batches, jnp.maximum(number, 0))

    def forward(carry: _Carry, number: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the kept inputs, this micro-batch's included, and the stage's output."""
        batch = micro_batch(number)
        x = jnp.where(is_first, first(ends, batch), carry.activation)
        return running_tree.put(carry.inputs, number % slots, x, number >= 0), stage(layers, x, batch)[0]

    def backward(carry: _Carry, number: jax.Array) -> tuple[running_tree.Levels, jax.Array]:
        """Returns the sums, this micro-batch's included, and the derivative with respect to the stage's input."""
        x = running_tree.at(carry.inputs, number % slots)
        sums, dx = differentiate(micro_batch(number), x, carry.cotangent)
        return running_tree.add_leaf(carry.sums, number, sums), dx

    def differentiate(batch: Tree, x: jax.Array, cotangent: jax.Array) -> tuple[StageSums, jax.Array]:
        def through(layers: Tree, x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Tree]:
            y, added, report = stage(layers, x, batch)
            return (y, added), report

        (y, added), pull_back, stage_report = jax.vjp(through, layers, x, has_aux=True)
        objective, from_objective, end_report = jax.vjp(lambda e, y: last(e, y, batch), ends, y, has_aux=True)
        d_behind, dy = from_objective(jnp.ones_like(objective))
        d_layers, dx = pull_back((jnp.where(is_last, dy, cotangent), jnp.ones_like(added)))
        _, from_input = jax.vjp(lambda e: first(e, batch), ends)
        (d_before,) = from_input(dx)
        d_behind, objective, end_report = _only(is_last, (d_behind, objective, end_report))
        d_ends = jax.tree.map(jnp.add, _only(is_first, d_before), d_behind)
        return reduce(StageSums(d_ends, d_layers, objective + added, end_report, stage_report)), dx

    def tick(carry: _Carry, turn: tuple[jax.Array, ...]) -> tuple[_Carry, None]:
        goes_forward, goes_backward, any_forward, any_backward = turn
        # Permutations are outside the branches, so that each can overlap with the computation of the other half.
        inputs, y = jax.lax.cond(any_forward, forward, lambda c, _: (c.inputs, c.activation), carry, goes_forward)
        activation = jax.lax.ppermute(y, axis, [(s, s + 1) for s in range(stages - 1)])
        carry = carry._replace(inputs=inputs)
        sums, dx = jax.lax.cond(any_backward, backward, lambda c, _: (c.sums, c.cotangent), carry, goes_backward)
        cotangent = jax.lax.ppermute(dx, axis, [(s + 1, s) for s in range(stages - 1)])
        return _Carry(inputs, activation, cotangent, sums), None

    x = jax.eval_shape(lambda: first(ends, micro_batch(jnp.int32(0))))
    nothing = jnp.zeros(x.shape, x.dtype)
    like, _ = jax.eval_shape(lambda: differentiate(micro_batch(jnp.int32(0)), nothing, nothing))
    empty = running_tree.no_leaves(like, count)
    halves = [jnp.asarray(half) for half in table]
    turns = [half[:, place] for half in halves] + [jnp.any(half >= 0, axis=1) for half in halves]
    start = _Carry(jnp.zeros((slots, *x.shape), x.dtype), nothing, nothing, empty)
    end, _ = jax.lax.scan(tick, start, tuple(turns))
    sums: StageSums = running_tree.total(end.sums, count)
    return sums


def _only(condition: jax.Array, tree: Tree) -> Tree:
    """Returns the tree if the condition holds, otherwise zeros."""
    return jax.tree.map(lambda array: jnp.where(condition, array, jnp.zeros_like(array)), tree)
