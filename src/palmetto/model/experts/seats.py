"""Places token assignments in rows of the experts' matrices, and moves tokens to these rows and back.

Both directions are gathers: every row stores its assignment and every assignment its row. So the derivative of neither
is a scatter with colliding indices, whose order is undefined on a GPU.
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Queues(NamedTuple):
    """Holds queues of assignments to E experts, one for each expert and group; a group is a sequence or a device."""

    chosen: jax.Array
    """True if an assignment is to an expert, bool [B, A, E]; this holds for at most one expert."""
    place: jax.Array
    """The assignment's place in its group's queue for that expert, [B, A]."""
    left_out: jax.Array
    """True if the assignment is dropped, bool [B, A]."""
    taken: jax.Array
    """The number of assignments that each queue keeps, its first ones, [B, E]."""


class Seats(NamedTuple):
    """Maps rows of the experts' matrices to assignments and back; assignment j of token n has the number n·top + j."""

    assignment: jax.Array
    """The assignment in each row, [rows]; N·top for an empty row."""
    row: jax.Array
    """The row of each assignment, [N, top]; `rows` or more for those dropped."""


def take_seats(queues: Queues, first: jax.Array, rows: int, top: int) -> Seats:
    """Returns the seats: assignment a of group b to expert e is in row first[b, e] + place[b, a]; `first` is [B, E].

    Dropped assignments get distinct numbers from `rows` on, so that no two assignments write to one row.
    """
    numbers = jnp.arange(queues.place.size)
    row = jnp.sum(jnp.where(queues.chosen, first[:, None], 0), axis=2) + queues.place
    row = jnp.where(queues.left_out.reshape(-1), rows + numbers, row.reshape(-1))
    empty = jnp.full(rows, queues.place.size)
    return Seats(empty.at[row].set(numbers, mode="drop", unique_indices=True), row.reshape(-1, top))


def _take(x: jax.Array, index: jax.Array) -> jax.Array:
    """Returns rows of x by index, and zeros for an index beyond the last row."""
    return x.at[index].get(mode="fill", fill_value=0)


@jax.custom_vjp
def dispatch(x: jax.Array, seats: Seats) -> jax.Array:
    """Returns the experts' rows [rows, D], copied from tokens x [N, D]; empty rows are zero."""
    return _take(x, seats.assignment // seats.row.shape[1])


def _dispatch_backward(seats: Seats, d: jax.Array) -> tuple[jax.Array, None]:
    parts = (_take(d, row).astype(jnp.float32) for row in seats.row.T)
    return reduce(jnp.add, parts).astype(d.dtype), None


dispatch.defvjp(lambda x, seats: (dispatch(x, seats), seats), _dispatch_backward)


@jax.custom_vjp
def combine(y: jax.Array, weights: jax.Array, seats: Seats) -> jax.Array:
    """Returns tokens [N, D], the sums of the experts' rows y [rows, D] weighted by float32 `weights` [N, top].

    Dropped assignments add nothing.
    """
    parts = (_take(y, row) * weight[:, None] for row, weight in zip(seats.row.T, weights.T, strict=True))
    return reduce(jnp.add, parts).astype(y.dtype)


def _combine_backward(kept: tuple[jax.Array, jax.Array, Seats], d: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    y, weights, seats = kept
    weight = _take(weights.reshape(-1), seats.assignment)
    dy = _take(d, seats.assignment // seats.row.shape[1]) * weight[:, None]
    dots = [jnp.sum(_take(y, row) * d.astype(jnp.float32), axis=-1) for row in seats.row.T]
    return dy.astype(y.dtype), jnp.stack(dots, axis=-1), None


combine.defvjp(lambda *inputs: (combine(*inputs), inputs), _combine_backward)
