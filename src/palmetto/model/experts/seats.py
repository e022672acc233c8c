"""Which row of the experts' matrices each token's assignments take, and the ways there and back.

Both ways are gathers: every row knows its assignment and every assignment its row, so that the derivative of either
needs no sum over colliding indices, whose order a GPU would choose.
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Queues(NamedTuple):
    """Assignments before E experts, in B groups, each with queues of its own: those of a sequence, or of a device."""

    chosen: jax.Array
    """[B, A, E]: whether an assignment is to an expert; true for one at most."""
    place: jax.Array
    """[B, A]: its place in its group's queue before that expert."""
    left_out: jax.Array
    """[B, A]: whether it does not get in."""
    taken: jax.Array
    """[B, E]: how many of each queue get in, the first ones."""


class Seats(NamedTuple):
    """Which row of the experts' matrices belongs to which assignment; N tokens' assignments n·top + j are numbered."""

    assignment: jax.Array
    """[rows]: the assignment in a row; N·top where a row is empty."""
    row: jax.Array
    """[N, top]: the row of an assignment; from `rows` on for those dropped."""


def take_seats(queues: Queues, first: jax.Array, rows: int, top: int) -> Seats:
    """Seats assignment a of group b, which is to expert e, in row first[b, e] + place[b, a]; first [B, E].

    Those left out get numbers from `rows` on, all different, so that no two assignments write to one row.
    """
    numbers = jnp.arange(queues.place.size)
    row = jnp.sum(jnp.where(queues.chosen, first[:, None], 0), axis=2) + queues.place
    row = jnp.where(queues.left_out.reshape(-1), rows + numbers, row.reshape(-1))
    empty = jnp.full(rows, queues.place.size)
    return Seats(empty.at[row].set(numbers, mode="drop", unique_indices=True), row.reshape(-1, top))


def _take(x: jax.Array, index: jax.Array) -> jax.Array:
    """Rows of x by their index, zeros where it is beyond the last."""
    return x.at[index].get(mode="fill", fill_value=0)


@jax.custom_vjp
def dispatch(x: jax.Array, seats: Seats) -> jax.Array:
    """Tokens [N, D] to the rows of the experts [rows, D]; empty rows are zero."""
    return _take(x, seats.assignment // seats.row.shape[1])


def _dispatch_backward(seats: Seats, d: jax.Array) -> tuple[jax.Array, None]:
    parts = (_take(d, row).astype(jnp.float32) for row in seats.row.T)
    return reduce(jnp.add, parts).astype(d.dtype), None


dispatch.defvjp(lambda x, seats: (dispatch(x, seats), seats), _dispatch_backward)


@jax.custom_vjp
def combine(y: jax.Array, weights: jax.Array, seats: Seats) -> jax.Array:
    """Rows [rows, D] to the tokens [N, D], weighted by [N, top] in float32; what was dropped adds nothing."""
    parts = (_take(y, row) * weight[:, None] for row, weight in zip(seats.row.T, weights.T, strict=True))
    return reduce(jnp.add, parts).astype(y.dtype)


def _combine_backward(kept: tuple[jax.Array, jax.Array, Seats], d: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    y, weights, seats = kept
    weight = _take(weights.reshape(-1), seats.assignment)
    dy = _take(d, seats.assignment // seats.row.shape[1]) * weight[:, None]
    dots = [jnp.sum(_take(y, row) * d.astype(jnp.float32), axis=-1) for row in seats.row.T]
    return dy.astype(y.dtype), jnp.stack(dots, axis=-1), None


combine.defvjp(lambda *inputs: (combine(*inputs), inputs), _combine_backward)
