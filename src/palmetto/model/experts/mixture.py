"""A mixture of experts: a gate sends each token through a few of the feed-forwards (GLaM, arXiv 2112.06905).

A token's choice of an expert is called an assignment. Token t's assignments always precede those of token t + 1, so
that no result depends on a later token. (GShard's algorithm 1, arXiv 2006.16668, places all first choices before any
second choice, which leaks the future.) The rows of each expert are collected in one matrix and scattered back.

Devices along the mesh's axis `expert` each hold some of the experts and their own tokens. All-to-all exchanges send
rows to the devices of their experts and back. Their shapes are fixed: each device sends each other one the most rows
that it could have for it, and rows may be empty. Empty rows are not computed.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.experts.products import Activate, block_size, in_blocks, pair, ragged
from palmetto.model.experts.router import Routing, route
from palmetto.model.experts.seats import Queues, combine, dispatch, take_seats
from palmetto.model.int8 import widened
from palmetto.model.products import project, project_back
from palmetto.model.tuning import Tuning
from palmetto.model.weights import EXPERT_INPUTS
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Experts


class _Held(NamedTuple):
    """Holds the kernels of the experts on one device."""

    kernels: tuple[jax.Array, ...]
    """The kernels up and, if gated, gate, each [E, D, F]."""
    down: jax.Array
    """The transposed kernel down, [E, D, F]."""
    activate: Activate


def mixture(
    x: jax.Array,
    layer: Mapping[str, jax.Array],
    settings: Experts,
    activate: Activate,
    *,
    tuning: Tuning,
    mesh: Mesh = ONE_DEVICE,
) -> tuple[jax.Array, Routing]:
    """Returns the experts' output for x [B, T, D], in its shape and dtype, and the router's statistics.

    layer: "router" [D, E], "expert_up" [E, D, F], "expert_down" [E, D, F] (transposed) and, if gated, "expert_gate"
    [E, D, F], all float32; while decoding, kernels may be in the forms of held.py. Devices that share the experts each
    pass their own; devices that share sequences each pass T of their positions.
    """
    batch, length, width = x.shape
    top, own = settings.top, settings.count // mesh.expert
    capacity = _capacity(settings, length * mesh.sequence)
    weights, chosen, routing = route(x, layer["router"], top, mesh.sequence)
    queues = _queues(chosen, capacity, mesh.sequence)
    tokens, weights = x.reshape(-1, width), weights.reshape(-1, top)
    kernels = tuple(widened(layer[name]) for name in EXPERT_INPUTS if name in layer)
    held, capacity = _Held(kernels, widened(layer["expert_down"]), activate), min(capacity, length)
    if top == settings.count or (settings.capacity_factor is not None and not tuning.unroll):
        mixed = _padded(tokens, weights, queues, capacity, held, tuning, mesh)
    else:
        size = block_size(len(tokens) * top // own) if tuning.unroll else 1
        if mesh.expert == 1:
            mixed = _packed(tokens, weights, queues, size, held, tuning)
        else:
            most = batch * min(length * min(top, own), own * capacity)
            mixed = _packed_across_devices(tokens, weights, queues, size, most, held, tuning, mesh)
    dropped = jnp.mean(queues.left_out, dtype=jnp.float32) / mesh.sequence
    return mixed.reshape(x.shape), routing._replace(dropped=dropped)


def _capacity(settings: Experts, length: int) -> int:
    """Returns the most assignments that an expert takes from a sequence of `length` tokens; without a factor, all."""
    if settings.capacity_factor is None:
        return length
    return min(length, math.ceil(settings.top * length / settings.count * settings.capacity_factor))


def _queues(chosen: jax.Array, capacity: int, sharers: int) -> Queues:
    """Returns the queues of each sequence; an expert takes `capacity` assignments, and `sharers` devices share one."""
    place = jnp.sum(jnp.where(chosen, jnp.cumsum(chosen, axis=1), 0), axis=2) - 1
    waiting = jnp.sum(chosen, axis=1)
    if sharers == 1:
        return Queues(chosen, place, place >= capacity, jnp.minimum(waiting, capacity))
    # Assignments on earlier devices of the sequence come first.
    everywhere = jax.lax.all_gather(waiting, "sequence")
    before = jnp.arange(sharers)[:, None, None] < jax.lax.axis_index("sequence")
    room = jnp.maximum(capacity - jnp.sum(jnp.where(before, everywhere, 0), axis=0), 0)
    own_room = jnp.sum(jnp.where(chosen, room[:, None], 0), axis=2)
    return Queues(chosen, place, place >= own_room, jnp.minimum(waiting, room))


def _padded(
    tokens: jax.Array, weights: jax.Array, queues: Queues, capacity: int, held: _Held, tuning: Tuning, mesh: Mesh
) -> jax.Array:
    """Returns the experts' output for tokens [N, D] in one product, with `capacity` rows for every queue."""
    batch, experts = queues.taken.shape
    first = capacity * (batch * jnp.arange(experts) + jnp.arange(batch)[:, None])
    seats = take_seats(queues, first, experts * batch * capacity, weights.shape[1])
    rows = _exchange(dispatch(tokens, seats).reshape(experts, -1, tokens.shape[1]), mesh, 0, 1)
    inner = held.activate(
        *pair(jax.vmap(lambda rows, kernels: project(rows, kernels, tuning.native))(rows, held.kernels))
    )
    outputs = _exchange(
        jax.vmap(lambda inner, down: project_back(inner, down, tuning.native))(inner, held.down), mesh, 1, 0
    )
    return combine(outputs.reshape(-1, tokens.shape[1]), weights, seats)


def _packed(tokens: jax.Array, weights: jax.Array, queues: Queues, size: int, held: _Held, tuning: Tuning) -> jax.Array:
    """Returns the output of this device's experts for tokens [N, D], with as many blocks of `size` rows as needed."""
    experts, top = len(held.down), weights.shape[1]
    blocks = -(-jnp.sum(queues.taken, axis=0) // size)
    first = size * (jnp.cumsum(blocks) - blocks) + jnp.cumsum(queues.taken, axis=0) - queues.taken
    most_blocks = (queues.place.size + experts * (size - 1)) // size
    seats = take_seats(queues, first, most_blocks * size, top)
    rows = dispatch(tokens, seats)
    if tuning.unroll:
        bounds = jnp.cumsum(jnp.pad(blocks, (1, 0)))
        outputs = in_blocks(held.activate, size, rows, held.kernels, held.down, bounds)
    else:
        inner = held.activate(*pair(tuple(ragged(rows, kernel, blocks) for kernel in held.kernels)))
        outputs = ragged(inner, held.down.mT, blocks)
    return combine(outputs, weights, seats)


def _packed_across_devices(
    tokens: jax.Array,
    weights: jax.Array,
    queues: Queues,
    size: int,
    most: int,
    held: _Held,
    tuning: Tuning,
    mesh: Mesh,
) -> jax.Array:
    """Returns the output for tokens [N, D] of experts that are spread over devices.

    Each device sends `most` rows to each other one, sorted by expert, and packs the rows that it receives.
    """
    totals = jnp.sum(queues.taken, axis=0).reshape(mesh.expert, -1)
    first = most * jnp.arange(mesh.expert)[:, None] + jnp.cumsum(totals, axis=1) - totals
    first = first.reshape(-1) + jnp.cumsum(queues.taken, axis=0) - queues.taken
    seats = take_seats(queues, first, mesh.expert * most, weights.shape[1])
    rows, taken = (_exchange(x, mesh, 0, 0) for x in (dispatch(tokens, seats), totals))

    ends, number = jnp.cumsum(taken, axis=1), jnp.arange(most)
    starts = ends - taken
    chosen = (number[:, None] >= starts[:, None]) & (number[:, None] < ends[:, None])
    place = number - jnp.sum(jnp.where(chosen, starts[:, None], 0), axis=2)
    received = Queues(chosen, place, ~jnp.any(chosen, axis=2), taken)
    outputs = _packed(rows, jnp.ones((len(rows), 1), jnp.float32), received, size, held, tuning)
    return combine(_exchange(outputs, mesh, 0, 0), weights, seats)


def _exchange(x: jax.Array, mesh: Mesh, split: int, joined: int) -> jax.Array:
    """Sends part i of x along axis `split` to device i of those that share experts; returns the received parts joined
    along axis `joined`."""
    return x if mesh.expert == 1 else jax.lax.all_to_all(x, "expert", split, joined, tiled=True)
