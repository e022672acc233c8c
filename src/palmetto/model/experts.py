"""A mixture of experts: each token passes the few feed-forwards that a gate picks (GLaM, arXiv 2112.06905).

A router gives each token a distribution over E experts; the `top` likeliest take it, and their outputs are weighted by
the probabilities renormalized over these (GLaM, section 4; GShard, arXiv 2006.16668, section 2.2). A token's choice of
an expert is an assignment; token t's assignments come before those of token t + 1 wherever order counts, so that no
token's fate depends on a later one. (GShard's algorithm 1 seats all first choices before any second, which lets the
future in.)

The rows of an expert come together in one matrix by gathers, and go apart by gathers: every row knows its assignment
and every assignment its row, so that the derivative of either needs no sum over colliding indices, whose order a GPU
would choose.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.products import in_float32, project, project_back, transposed
from palmetto.recipe.model import Experts

Activate = Callable[[jax.Array, jax.Array | None], jax.Array]
"""A projection [..., F] and, where gated, the gate's [..., F] → what goes through `down` [..., F]."""

_Kernels = tuple[jax.Array, ...]
"""Up and, where gated, gate: kernels [E, D, F] or what they project to."""

_Results = tuple[jax.Array, _Kernels]
_Gradients = tuple[jax.Array, _Kernels, jax.Array]
_Kept = tuple[jax.Array, _Kernels, jax.Array, jax.Array, _Kernels]

_BLOCK_ROWS = (8, 128)
"""The least and the most rows of a block."""

_RUNS = (4, 1)
"""Backward, blocks of an expert are taken four at a time, the rest one by one: the sum that each adds to its kernels'
gradients costs the same."""


class Routing(NamedTuple):
    """What a layer's router did, in float32: means over the sequences, however these are batched."""

    load: jax.Array
    """[E]: the share of all assignments that fell to each expert, before any was dropped; sums to 1."""
    dropped: jax.Array
    """The share of assignments that found their expert full."""
    entropy: jax.Array
    """Mean entropy of the gate, in nats."""
    balance: jax.Array
    """Load-balance loss E·Σ f·P of each sequence, 1 where experts share evenly (GShard, algorithm 1): f the share of
    tokens whose first choice an expert is, P its mean probability, through which alone the gradient flows."""
    z: jax.Array
    """Mean log² of the gate's normalizer (arXiv 2202.08906, equation 5)."""


class _Seats(NamedTuple):
    """Which row of the experts' matrices belongs to which assignment; N tokens' assignments n·top + j are numbered."""

    assignment: jax.Array
    """[rows]: the assignment in a row; N·top where a row is empty."""
    row: jax.Array
    """[N, top]: the row of an assignment; from `rows` on for those dropped."""


def mixture(
    x: jax.Array, layer: Mapping[str, jax.Array], settings: Experts, activate: Activate, *, unroll: bool
) -> tuple[jax.Array, Routing]:
    """What the experts make of x [B, T, D], in its dtype, and what the router did.

    layer: "router" [D, E], "expert_up" [E, D, F], "expert_down" [E, D, F] (transposed) and, where gated,
    "expert_gate" [E, D, F], all float32. unroll: in the form that is quick on a CPU, not in an accelerator's.
    """
    batch, length, width = x.shape
    experts, top = settings.count, settings.top
    capacity = _capacity(settings, length)
    weights, chosen, routing = _route(x, layer["router"], top)
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
        inner = activate(*_pair(jax.vmap(project)(rows, kernels)))
        outputs = jax.vmap(project_back)(inner, down).reshape(-1, width)
    else:
        size = _block_size(place.size // experts) if unroll else 1
        blocks = -(-jnp.sum(taken, axis=0) // size)
        first = size * (jnp.cumsum(blocks) - blocks) + jnp.cumsum(taken, axis=0) - taken
        most_blocks = (place.size + experts * (size - 1)) // size
        seats = _seats(chosen, place, capacity, first, most_blocks * size, top)
        rows = _dispatch(tokens, seats)
        if unroll:
            outputs = _in_blocks(activate, size, rows, kernels, down, jnp.cumsum(jnp.pad(blocks, (1, 0))))
        else:
            inner = activate(*_pair(tuple(_ragged(rows, kernel, blocks) for kernel in kernels)))
            outputs = _ragged(inner, down.mT, blocks)
    mixed = _combine(outputs, weights.reshape(-1, top), seats)
    return mixed.reshape(x.shape), routing._replace(dropped=jnp.mean(place >= capacity, dtype=jnp.float32))


def _capacity(settings: Experts, length: int) -> int:
    """Assignments of a sequence of `length` tokens that an expert takes: at most one a token, without a factor all."""
    if settings.capacity_factor is None:
        return length
    return min(length, math.ceil(settings.top * length / settings.count * settings.capacity_factor))


def _block_size(share: int) -> int:
    """Rows of a block where an expert has `share` on average: a quarter of that or less, a power of two from 8 to 128.

    A larger block makes more of a kernel once it is loaded, a smaller one leaves less of an expert's last one empty.
    """
    quarter = max(_BLOCK_ROWS[0], min(share // 4, _BLOCK_ROWS[1]))
    return 1 << (quarter.bit_length() - 1)


def _pair(projected: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array | None]:
    """A projection and its gate, if there is one."""
    return projected[0], projected[1] if len(projected) > 1 else None


def _route(x: jax.Array, router: jax.Array, top: int) -> tuple[jax.Array, jax.Array, Routing]:
    """Weights [B, T, top], the assignments [B, T·top, E] as truth values, and all of Routing but `dropped`.

    The likeliest expert has the largest logit, the lower one of equals; softmax over the chosen logits alone is the
    renormalized probability, and exactly 1 for a single one.
    """
    logits = jnp.matmul(x.astype(jnp.float32), router, precision=jax.lax.Precision.HIGHEST)
    experts = logits.shape[-1]
    _, indices = jax.lax.top_k(jax.lax.stop_gradient(logits), top)
    chosen = indices[..., None] == jnp.arange(experts)
    weights = jax.nn.softmax(jnp.sum(jnp.where(chosen, logits[..., None, :], 0), axis=-1), axis=-1)

    normalizer = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    log_gate = logits - normalizer
    gate = jnp.exp(log_gate)
    first = jnp.mean(chosen[:, :, 0], axis=1, dtype=jnp.float32)
    routing = Routing(
        load=jnp.mean(chosen, axis=(0, 1, 2), dtype=jnp.float32),
        dropped=jnp.zeros(()),
        entropy=-jnp.mean(jnp.sum(gate * log_gate, axis=-1)),
        balance=experts * jnp.mean(jnp.sum(first * jnp.mean(gate, axis=1), axis=-1)),
        z=jnp.mean(jnp.square(normalizer)),
    )
    return weights, chosen.reshape(x.shape[0], -1, experts), routing


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


@jax.custom_vjp
def _ragged(rows: jax.Array, kernels: jax.Array, sizes: jax.Array) -> jax.Array:
    """Rows [M, D], the first sizes[0] of them through kernels[0] and so on, [E, D, F] in float32, to [M, F]."""
    product = jax.lax.ragged_dot(rows, kernels.astype(rows.dtype), sizes, preferred_element_type=jnp.float32)
    return product.astype(rows.dtype)


def _ragged_backward(kept: tuple[jax.Array, jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    rows, kernels, sizes = kept
    over_rows = jax.lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), [0], [])
    dkernels = jax.lax.ragged_dot_general(rows, d, sizes, over_rows, preferred_element_type=jnp.float32)
    return _ragged(d, kernels.mT, sizes), dkernels, None


_ragged.defvjp(lambda *inputs: (_ragged(*inputs), inputs), _ragged_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _in_blocks(
    activate: Activate, size: int, rows: jax.Array, kernels: _Kernels, down: jax.Array, bounds: jax.Array
) -> jax.Array:
    """Rows [M, D] through their experts to [M, D], `size` at a time: blocks bounds[e] to bounds[e + 1] are expert e's.

    XLA's CPU code takes every row of a ragged product through all experts. Here a block goes all its way while it is
    in the cache, and only as many blocks are computed as there are. A row's place in its block depends on nothing
    behind it, so not even a bit of it does.
    """
    return _blocks_forward(activate, size, rows, kernels, down, bounds)[0]


def _blocks_forward(
    activate: Activate, size: int, rows: jax.Array, kernels: _Kernels, down: jax.Array, bounds: jax.Array
) -> tuple[jax.Array, _Kept]:
    def expert(e: jax.Array, results: _Results) -> _Results:
        own, own_down = _own(kernels, e, rows.dtype), down[e].astype(rows.dtype)

        def block(i: jax.Array, results: _Results) -> _Results:
            outputs, projections = results
            x = _slice(rows, i * size, size)
            projected = tuple(x @ kernel for kernel in own)
            y = activate(*_pair(projected)) @ own_down.mT
            put = (_put(whole, i * size, part) for whole, part in zip(projections, projected, strict=True))
            return _put(outputs, i * size, y), tuple(put)

        return jax.lax.fori_loop(bounds[e], bounds[e + 1], block, results)

    wide = jnp.zeros((rows.shape[0], down.shape[2]), rows.dtype)
    empty = jnp.zeros_like(rows), (wide,) * len(kernels)
    outputs, projections = jax.lax.fori_loop(0, down.shape[0], expert, empty)
    return outputs, (rows, kernels, down, bounds, projections)


def _blocks_backward(
    activate: Activate, size: int, kept: _Kept, d: jax.Array
) -> tuple[jax.Array, _Kernels, jax.Array, None]:
    rows, kernels, down, bounds, projections = kept

    def expert(e: jax.Array, gradients: _Gradients) -> _Gradients:
        own, own_down = _own(kernels, e, rows.dtype), down[e].astype(rows.dtype)

        def run(first: jax.Array, blocks: int, i: jax.Array, gradients: _Gradients) -> _Gradients:
            drows, dkernels, ddown = gradients
            start, length = (first + i * blocks) * size, blocks * size
            x, dy, *projected = (_slice(whole, start, length) for whole in (rows, d, *projections))
            inner, pull_back = jax.vjp(lambda *projected: activate(*_pair(projected)), *projected)
            dprojected = pull_back(dy @ own_down)
            dx = reduce(jnp.add, (dp @ kernel.mT for dp, kernel in zip(dprojected, own, strict=True)))
            turned = transposed(x)
            dkernels = tuple(dk + in_float32(turned, dp) for dk, dp in zip(dkernels, dprojected, strict=True))
            return _put(drows, start, dx), dkernels, ddown + in_float32(transposed(dy), inner)

        drows, dkernels, ddown = gradients
        zeros, zero = jax.tree.map(lambda kernel: jnp.zeros(kernel.shape[1:]), (kernels, down))
        own_gradients, first = (drows, zeros, zero), bounds[e]
        for blocks in (blocks for blocks in _RUNS if blocks * size <= rows.shape[0]):
            runs = (bounds[e + 1] - first) // blocks
            own_gradients = jax.lax.fori_loop(0, runs, partial(run, first, blocks), own_gradients)
            first += runs * blocks
        drows, own_dkernels, own_ddown = own_gradients
        dkernels = tuple(dk.at[e].set(one) for dk, one in zip(dkernels, own_dkernels, strict=True))
        return drows, dkernels, ddown.at[e].set(own_ddown)

    empty = jax.tree.map(jnp.zeros_like, (rows, kernels, down))
    return *jax.lax.fori_loop(0, down.shape[0], expert, empty), None


_in_blocks.defvjp(_blocks_forward, _blocks_backward)


def _own(kernels: _Kernels, e: jax.Array, dtype: jnp.dtype) -> _Kernels:
    """One expert's kernels."""
    return tuple(kernel[e].astype(dtype) for kernel in kernels)


def _slice(rows: jax.Array, start: jax.Array, length: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(rows, start, length)


def _put(rows: jax.Array, start: jax.Array, some: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(rows, some, start, 0)
