"""A mixture of experts: each token passes the few feed-forwards that a gate picks (GLaM, arXiv 2112.06905).

A token's choice of an expert is an assignment; token t's assignments come before those of token t + 1 wherever order
counts, so that no token's fate depends on a later one. (GShard's algorithm 1, arXiv 2006.16668, seats all first choices
before any second, which lets the future in.)

The rows of an expert come together in one matrix by gathers, and go apart by gathers: every row knows its assignment
and every assignment its row, so that the derivative of either needs no sum over colliding indices, whose order a GPU
would choose.
"""

import math
from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.expert_products import Activate, block_size, in_blocks, pair, ragged
from palmetto.model.layout import Layout
from palmetto.model.products import project, project_back
from palmetto.model.router import Routing, route
from palmetto.recipe.model import Experts


class _Seats(NamedTuple):
    """Which row of the experts' matrices belongs to which assignment; N tokens' assignments n·top + j are numbered."""

    assignment: jax.Array
    """[rows]: the assignment in a row; N·top where a row is empty."""
    row: jax.Array
    """[N, top]: the row of an assignment; from `rows` on for those dropped."""


def mixture(
    x: jax.Array, layer: Mapping[str, jax.Array], settings: Experts, activate: Activate, *, layout: Layout
) -> tuple[jax.Array, Routing]:
    """What the experts make of x [B, T, D], in its dtype, and what the router did.

    layer: "router" [D, E], "expert_up" [E, D, F], "expert_down" [E, D, F] (transposed) and, where gated,
    "expert_gate" [E, D, F], all float32.
    """
    unroll = layout.unroll
    batch, length, width = x.shape
    experts, top = settings.count, settings.top
    capacity = _capacity(settings, length)
    weights, chosen, routing = route(x, layer["router"], top)
    # Each assignment's place in its sequence's queue before its expert, and how many of each queue get in.
    place = jnp.sum(jnp.where(chosen, jnp.cumsum(chosen, axis=1), 0), axis=2) - 1
    taken = jnp.minimum(jnp.sum(chosen, axis=1), capacity)

    tokens = x.reshape(-1, width)
    kernels = tuple(layer[name] for name in ("expert_up", "expert_gate") if name in layer)
    down = layer["expert_down"]
    if top == experts or (settings.capacity_factor is not None and not unroll):
        first = capacity * (batch * jnp.arange(experts) + jnp.arange(batch)[:, None])
        seats = _seats(chosen, place, capacity, first, experts * batch * capacity, top)
        rows = _dispatch(tokens, seats).reshape(experts, -1, width)
        inner = activate(*pair(jax.vmap(project)(rows, kernels)))
        outputs = jax.vmap(project_back)(inner, down).reshape(-1, width)
    else:
        size = block_size(place.size // experts) if unroll else 1
        blocks = -(-jnp.sum(taken, axis=0) // size)
        first = size * (jnp.cumsum(blocks) - blocks) + jnp.cumsum(taken, axis=0) - taken
        most_blocks = (place.size + experts * (size - 1)) // size
        seats = _seats(chosen, place, capacity, first, most_blocks * size, top)
        rows = _dispatch(tokens, seats)
        if unroll:
            outputs = in_blocks(activate, size, rows, kernels, down, jnp.cumsum(jnp.pad(blocks, (1, 0))))
        else:
            inner = activate(*pair(tuple(ragged(rows, kernel, blocks) for kernel in kernels)))
            outputs = ragged(inner, down.mT, blocks)
    mixed = _combine(outputs, weights.reshape(-1, top), seats)
    return mixed.reshape(x.shape), routing._replace(dropped=jnp.mean(place >= capacity, dtype=jnp.float32))


def _capacity(settings: Experts, length: int) -> int:
    """Assignments of a sequence of `length` tokens that an expert takes: at most one a token, without a factor all."""
    if settings.capacity_factor is None:
        return length
    return min(length, math.ceil(settings.top * length / settings.count * settings.capacity_factor))


def _seats(chosen: jax.Array, place: jax.Array, capacity: int, first: jax.Array, rows: int, top: int) -> _Seats:
    """Seats assignment a of sequence b, which chose expert e, in row first[b, e] + place[b, a].

    chosen [B, T·top, E], place [B, T·top], first [B, E]. Those whose place is beyond the capacity get numbers from
    `rows` on, all different, so that no two assignments write to one row.
    """
    numbers = jnp.arange(place.size)
    row = jnp.sum(jnp.where(chosen, first[:, None], 0), axis=2) + place
    row = jnp.where(place.reshape(-1) < capacity, row.reshape(-1), rows + numbers)
    empty = jnp.full(rows, place.size)
    return _Seats(empty.at[row].set(numbers, mode="drop", unique_indices=True), row.reshape(-1, top))


def _take(x: jax.Array, index: jax.Array) -> jax.Array:
    """Rows of x by their index, zeros where it is beyond the last."""
    return x.at[index].get(mode="fill", fill_value=0)


@jax.custom_vjp
def _dispatch(x: jax.Array, seats: _Seats) -> jax.Array:
    """Tokens [N, D] to the rows of the experts [rows, D]; empty rows are zero."""
    return _take(x, seats.assignment // seats.row.shape[1])


def _dispatch_backward(seats: _Seats, d: jax.Array) -> tuple[jax.Array, None]:
    parts = (_take(d, row).astype(jnp.float32) for row in seats.row.T)
    return reduce(jnp.add, parts).astype(d.dtype), None


_dispatch.defvjp(lambda x, seats: (_dispatch(x, seats), seats), _dispatch_backward)


@jax.custom_vjp
def _combine(y: jax.Array, weights: jax.Array, seats: _Seats) -> jax.Array:
    """Rows [rows, D] to the tokens [N, D], weighted by [N, top] in float32; what was dropped adds nothing."""
    parts = (_take(y, row) * weight[:, None] for row, weight in zip(seats.row.T, weights.T, strict=True))
    return reduce(jnp.add, parts).astype(y.dtype)


def _combine_backward(kept: tuple[jax.Array, jax.Array, _Seats], d: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    y, weights, seats = kept
    weight = _take(weights.reshape(-1), seats.assignment)
    dy = _take(d, seats.assignment // seats.row.shape[1]) * weight[:, None]
    dots = [jnp.sum(_take(y, row) * d.astype(jnp.float32), axis=-1) for row in seats.row.T]
    return dy.astype(y.dtype), jnp.stack(dots, axis=-1), None


_combine.defvjp(lambda *inputs: (_combine(*inputs), inputs), _combine_backward)
