"""Attention scores of a block of queries against a block of keys: products, distances and masks in one function.

Each kind of positions and attention is a case here; how blocks are gone through (attention.py, blocked.py) is not
concerned with it. Axes: B sequences, K key/value heads, G = H/K query heads that share one, Q head size.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from palmetto.model.blocked import HIDDEN, products
from palmetto.model.masks import visible, with_prefix
from palmetto.model.positions import buckets, rotary_angles, rotate, shared, sinusoids, slopes
from palmetto.recipe.model import (
    AlibiPositions,
    Attention,
    Model,
    ParallelWindows,
    RotaryPositions,
    SinkAttention,
    T5Positions,
    TransformerXLPositions,
)

Learned = Mapping[str, jax.Array]
"""What scores learn: nothing, T5's `relative` [buckets, H], or Transformer-XL's `u`, `w` [H, Q] and `r` [2S − 1, H, Q],
the vectors of the distances −(S − 1) … S − 1."""

HEADS: Mapping[str, PartitionSpec] = {
    "relative": PartitionSpec(None, "model"),
    "u": PartitionSpec("model"),
    "w": PartitionSpec("model"),
    "r": PartitionSpec(None, "model"),
}
"""Along which axis of them heads lie."""


class Scores(NamedTuple):
    """The scores of one layer: a function with what it learns and the prefix lengths [B], or None."""

    function: Callable[..., jax.Array]
    """(learned, prefix, q [B, K, rows, G, Q], k [B, K, cols, Q], queries [rows], keys [cols]) → [B, K, rows, G, cols]
    in float32, for integer positions without gaps. Queries come scaled and, like keys, rotated. On a device with a part
    of the heads, `learned` is theirs."""
    learned: Learned
    prefix: jax.Array | None


def make_scores(
    layer: Learned, model: Model, attention: Attention, length: int, prefix: jax.Array | None = None
) -> Scores:
    """The scores of a layer with arranged arrays `layer`, for up to `length` positions."""
    learned: dict[str, jax.Array] = {}
    match model.positions:
        case T5Positions():
            learned = {"relative": layer["relative"]}
        case TransformerXLPositions():
            distances = sinusoids(jnp.arange(1 - length, length), model.d_model)
            r = (distances @ layer["r"]).reshape(2 * length - 1, model.heads, model.query_size)
            learned = {"u": layer["u"], "w": layer["w"], "r": r}

    def scores(
        learned: Learned, prefix: jax.Array | None, q: jax.Array, k: jax.Array, queries: jax.Array, keys: jax.Array
    ) -> jax.Array:
        result = _products(q, k, queries, keys, learned, model, attention)
        result = result + _distances(q, queries, keys, learned, model, attention)
        seen = visible(attention, queries[:, None], keys[None, :])
        if prefix is not None:
            seen = with_prefix(seen, queries[:, None], keys[None, :], prefix[:, None, None])[:, None, :, None, :]
        else:
            seen = seen[:, None, :]
        return jnp.where(seen, result, HIDDEN)

    return Scores(scores, learned, prefix)


def _products(
    q: jax.Array, k: jax.Array, queries: jax.Array, keys: jax.Array, learned: Learned, model: Model, of: Attention
) -> jax.Array:
    """q·k, or (q + u)·k; sinks that lie farther than their window are seen from the window's distance."""
    if "u" in learned:
        q = q + _by_group(learned["u"], q).astype(q.dtype)
    result = products(q, k)
    if isinstance(of, SinkAttention) and isinstance(model.positions, RotaryPositions):
        # As between a query at position `window` and keys at 0.
        to_window = rotary_angles(of.window - queries, model.query_size, model.positions)
        to_start = rotary_angles(-keys, model.query_size, model.positions)
        at_window = products(rotate(q, to_window), rotate(k[..., None, :], to_start)[..., 0, :])
        far = queries[:, None] - keys[None, :] > of.window
        result = jnp.where(far[:, None, :], at_window, result)
    return result


def _distances(
    q: jax.Array, queries: jax.Array, keys: jax.Array, learned: Learned, model: Model, of: Attention
) -> jax.Array:
    """What scores gain or lose by the distance alone: broadcasts against [B, K, rows, G, cols]."""
    groups = q.shape[1], q.shape[3]
    farthest = of.window if isinstance(of, SinkAttention) else None
    if isinstance(model.positions, AlibiPositions):
        if isinstance(of, ParallelWindows):
            queries, keys = shared(queries, of), shared(keys, of)
        distances = jnp.abs(queries[:, None] - keys[None, :])
        penalty = _own(jnp.asarray(slopes(model.heads)), groups[0] * groups[1]).reshape(groups)
        return -penalty[:, None, :, None] * jnp.minimum(distances, farthest or distances)[None, :, None, :]
    if not learned:
        return jnp.zeros((), jnp.float32)
    # All distances in the block, each once: that of row i and column j stands at i + (cols − 1 − j).
    rows, cols = queries.shape[0], keys.shape[0]
    between = queries[0] - keys[-1] + jnp.arange(rows + cols - 1)
    if farthest is not None:
        between = jnp.minimum(between, farthest)
    if isinstance(model.positions, T5Positions):
        one_hot = jax.nn.one_hot(buckets(between, model.positions), model.positions.buckets, dtype=jnp.float32)
        by_distance = (one_hot @ learned["relative"]).T.reshape(*groups, 1, -1)  # [K, G, 1, rows + cols − 1]
        spread = jnp.broadcast_to(by_distance, (*groups, rows, rows + cols - 1))
        return _skew(spread, cols).swapaxes(1, 2)
    reach = learned["r"].shape[0] // 2
    r = learned["r"][jnp.clip(between, -reach, reach) + reach].reshape(-1, *groups, q.shape[-1])
    q = (q + _by_group(learned["w"], q).astype(q.dtype)).astype(jnp.float32)
    return _skew(jnp.einsum("bkrgq,dkgq->bkgrd", q, r), cols).swapaxes(2, 3)


def _own(by_head: jax.Array, heads: int) -> jax.Array:
    """Of an array [H] the entries of a device's own heads, where those along the axis model share a layer."""
    if heads == by_head.shape[0]:
        return by_head
    return jax.lax.dynamic_slice_in_dim(by_head, jax.lax.axis_index("model") * heads, heads)


def _skew(x: jax.Array, cols: int) -> jax.Array:
    """x [..., rows, rows + cols − 1] → [..., rows, cols], where (i, j) is x[i, i + cols − 1 − j]; no gather is needed,
    so that its derivative is none either."""
    *outer, rows, width = x.shape
    flat = jnp.pad(x.reshape(*outer, rows * width), [(0, 0)] * len(outer) + [(0, rows)])
    return flat.reshape(*outer, rows, width + 1)[..., :cols][..., ::-1]


def _by_group(heads: jax.Array, q: jax.Array) -> jax.Array:
    """[H, Q] shaped to broadcast against q [B, K, rows, G, Q]."""
    return heads.reshape(q.shape[1], 1, q.shape[3], q.shape[4])
