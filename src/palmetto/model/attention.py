"""Attention with H query heads and K key/value heads, each of which is shared by a group of G = H/K query heads.

K = 1 is multi-query attention (arXiv 1911.02150), K = H is multi-head attention, and anything between is grouped-query
attention (arXiv 2305.13245). Queries are already scaled by 1/√Q (layout.py).
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from palmetto.model import accelerated
from palmetto.model.blocked import blocked_attention
from palmetto.model.causal import causal_attention
from palmetto.model.masks import block_pairs
from palmetto.model.products import by_native
from palmetto.model.scores import Learned, Scores, make_scores
from palmetto.model.sequences import Sequences
from palmetto.model.tuning import Tuning
from palmetto.native.attention import LARGEST_HEAD, fused_attention
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model
from palmetto.recipe.parts import Attention, Band


def attention(
    layer: Learned,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    model: Model,
    kind: Attention,
    tuning: Tuning,
    sequences: Sequences,
    mesh: Mesh = ONE_DEVICE,
) -> jax.Array:
    """Returns the attention output of whole sequences, in q's shape, by the fastest algorithm that supports them.

    q is [B, T, H, Q], k and v are [B, T, K, Q], and positions are consecutive within an example. Devices that share a
    sequence each hold T of its positions. Devices that share a layer each compute their own heads; left to itself, XLA
    would compute all heads on each.
    """
    function, learned, _ = make_scores(layer, model, kind, q.shape[1] * mesh.sequence, sequences)
    attend = partial(_own_heads, function, model, kind, tuning, mesh)
    if mesh.model > 1:
        by_head = PartitionSpec(None, None, "model")
        heads = {name: PartitionSpec(*(None,) * axis, "model") for name, axis in model.positions.axes_of_heads.items()}
        in_specs = (heads, PartitionSpec(), by_head, by_head, by_head)
        attend = jax.shard_map(attend, in_specs=in_specs, out_specs=by_head, axis_names={"model"}, check_vma=False)
        k, v = (_repeat_heads(x, mesh.model) for x in (k, v))
    return attend(learned, sequences, q, k, v)


def _repeat_heads(x: jax.Array, devices: int) -> jax.Array:
    """Repeats key or value heads [B, T, K, Q] that several devices share; the derivative is a sum in float32."""
    copies = math.lcm(x.shape[2], devices) // x.shape[2]
    return x if copies == 1 else jnp.repeat(x.astype(jnp.float32), copies, axis=2).astype(x.dtype)


def _own_heads(
    function: Callable[..., jax.Array],
    model: Model,
    kind: Attention,
    tuning: Tuning,
    mesh: Mesh,
    learned: Learned,
    sequences: Sequences,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
) -> jax.Array:
    """Returns the attention output of one device's heads; `function` computes their scores from `learned`."""
    length, heads, shared = q.shape[1] * mesh.sequence, k.shape[2], mesh.sequence > 1
    plain = sequences.are_whole and not model.positions.add_to_scores
    if plain and not shared and kind.band:
        flash = accelerated.choose(tuning.platform, q.dtype, length, q.shape[3])
        if flash:
            return flash(q, k, v, kind.band.window)
    banded = sequences.prefix is None and not model.positions.add_to_scores and not shared and not kind.searches
    if banded and kind.band and by_native(q, tuning.native) and q.shape[3] <= LARGEST_HEAD:
        first = _first_seen(kind.band, sequences, q)
        return fused_attention(q.reshape(*q.shape[:2], heads, -1, q.shape[3]), k, v, first).reshape(q.shape)
    causal = banded and kind.band == Band(None)
    start: jax.Array | int = 0
    if shared:
        start = jax.lax.axis_index("sequence") * q.shape[1]
        k, v = _whole_sequences(k), _whole_sequences(v)  # queries stay where they are
    grouped, k, v = by_group(q, heads), k.swapaxes(1, 2), v.swapaxes(1, 2)
    if kind.searches:
        queries, keys = start + jnp.arange(q.shape[1]), jnp.arange(k.shape[2])
        together, (queries, keys) = sequences.together(queries, keys), map(sequences.positions, (queries, keys))
        result = kind.search(grouped, k, v, queries, keys, model.positions, tuning.query_rows, together)
    elif causal and length <= tuning.kept_length:
        merged = (array.reshape(-1, *array.shape[2:]) for array in (grouped, k, v))
        starts = None if sequences.starts is None else jnp.repeat(sequences.starts, heads, axis=0)
        result = causal_attention(*merged, starts, tuning.query_rows).reshape(grouped.shape)
    else:
        rows = _whole_blocks(q.shape[1], tuning.block_rows) if shared else tuning.block_rows
        pairs = block_pairs(_bound(kind, sequences), length, rows, tuning.block_rows)
        result = blocked_attention(
            function, learned, sequences, grouped, k, v, pairs, rows, tuning.block_rows, start // rows
        )
    return result.swapaxes(1, 2).reshape(q.shape)


def _first_seen(band: Band, sequences: Sequences, q: jax.Array) -> jax.Array | None:
    """Returns the first place that each query of q [B, T, …] sees, int32 [B, T]; None if all see from place 0 on."""
    if band.window is None:
        return sequences.starts
    first = jnp.maximum(jnp.arange(q.shape[1], dtype=jnp.int32) - band.window + 1, 0)
    return jnp.broadcast_to(first, q.shape[:2]) if sequences.starts is None else jnp.maximum(first, sequences.starts)


def _bound(kind: Attention, sequences: Sequences) -> Attention | None:
    """Returns an attention that sees all that `kind` may see by place; None if that may be later places."""
    if sequences.prefix is not None:
        return None
    return kind if sequences.starts is None else Attention.usual()


@jax.custom_vjp
def _whole_sequences(x: jax.Array) -> jax.Array:
    """Gathers keys or values [B, T, K, Q] from all devices that share the sequences.

    The derivative is a reduce-scatter over these devices, in float32 like the sums over blocks.
    """
    return jax.lax.all_gather(x, "sequence", axis=1, tiled=True)


def _whole_backward(_: None, d: jax.Array) -> tuple[jax.Array]:
    own = jax.lax.psum_scatter(d.astype(jnp.float32), "sequence", scatter_dimension=1, tiled=True)
    return (own.astype(d.dtype),)


_whole_sequences.defvjp(lambda x: (_whole_sequences(x), None), _whole_backward)


def _whole_blocks(length: int, most: int) -> int:
    """Returns the largest number of rows, at most `most`, that divides `length`."""
    return next(rows for rows in range(min(most, length), 0, -1) if length % rows == 0)


def by_group(q: jax.Array, groups: int) -> jax.Array:
    """Returns queries [B, T, H, Q] reshaped to [B, K, T, G, Q] for K groups."""
    batch, length, _, size = q.shape
    return q.reshape(batch, length, groups, -1, size).swapaxes(1, 2)


def attend(scores: Scores, q: jax.Array, k: jax.Array, v: jax.Array, queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Returns the attention output in q's shape, computed without blocks, for decoding; the softmax is in float32.

    q is [B, K, rows, G, Q], k and v are [B, K, cols, Q]; `queries` [B, rows] and `keys` [B, cols] are positions.
    """
    weights = jax.nn.softmax(scores.function(scores.learned, scores.sequences, q, k, queries, keys), axis=-1)
    merged = weights.astype(v.dtype).reshape(*q.shape[:2], -1, k.shape[2])
    return jnp.matmul(merged, v, preferred_element_type=jnp.float32).reshape(q.shape).astype(q.dtype)
