"""Attention: H query heads over K heads of keys and values that groups of G = H/K queries share.

K = 1 is multi-query attention (arXiv 1911.02150), K = H multi-head, between them grouped-query (arXiv 2305.13245).
Queries come scaled by 1/√Q (layout.py).
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
from palmetto.model.memory import memory_attention
from palmetto.model.scores import HEADS, Learned, Scores, make_scores
from palmetto.model.tuning import Tuning
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import (
    AlibiPositions,
    Attention,
    FullAttention,
    LocalAttention,
    MemoryAttention,
    Model,
    T5Positions,
    TransformerXLPositions,
)


def attention(
    layer: Learned,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    model: Model,
    kind: Attention,
    tuning: Tuning,
    prefix: jax.Array | None,
    mesh: Mesh = ONE_DEVICE,
) -> jax.Array:
    """A whole sequence's attention in the way that suits it best: q [B, T, H, Q], k and v [B, T, K, Q] → q's shape.

    `prefix` [B]: so many first positions see each other. Devices that share a sequence each hold T of its positions.
    Of those that share a layer each attends with its own heads; XLA by itself would have each attend with all.
    """
    function, learned, prefix = make_scores(layer, model, kind, q.shape[1] * mesh.sequence, prefix)
    attend = partial(_own_heads, function, model, kind, tuning, mesh)
    if mesh.model > 1:
        by_head = PartitionSpec(None, None, "model")
        in_specs = ({name: HEADS[name] for name in learned}, PartitionSpec(), by_head, by_head, by_head)
        attend = jax.shard_map(attend, in_specs=in_specs, out_specs=by_head, axis_names={"model"}, check_vma=False)
        k, v = (_for_each(x, mesh.model) for x in (k, v))
    return attend(learned, prefix, q, k, v)


def _for_each(x: jax.Array, devices: int) -> jax.Array:
    """Keys or values [B, T, K, Q], heads repeated where devices share them; the derivative is a sum in float32."""
    copies = math.lcm(x.shape[2], devices) // x.shape[2]
    return x if copies == 1 else jnp.repeat(x.astype(jnp.float32), copies, axis=2).astype(x.dtype)


def _own_heads(
    function: Callable[..., jax.Array],
    model: Model,
    kind: Attention,
    tuning: Tuning,
    mesh: Mesh,
    learned: Learned,
    prefix: jax.Array | None,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
) -> jax.Array:
    """`attention` of the heads that one device has, with scores by `function` of what is learned for them."""
    length, heads, shared = q.shape[1] * mesh.sequence, k.shape[2], mesh.sequence > 1
    plain = prefix is None and not isinstance(model.positions, AlibiPositions | T5Positions | TransformerXLPositions)
    if plain and not shared and isinstance(kind, FullAttention | LocalAttention):
        flash = accelerated.choose(tuning.platform, q.dtype, length, q.shape[3])
        if flash:
            return flash(q, k, v, kind.window if isinstance(kind, LocalAttention) else None)
    start: jax.Array | int = 0
    if shared:
        start = jax.lax.axis_index("sequence") * q.shape[1]
        k, v = _whole_sequences(k), _whole_sequences(v)  # queries stay
    grouped, k, v = by_group(q, heads), k.swapaxes(1, 2), v.swapaxes(1, 2)
    if isinstance(kind, MemoryAttention):
        result = memory_attention(grouped, k, v, model, kind, tuning.query_rows, start + jnp.arange(q.shape[1]))
    elif plain and not shared and isinstance(kind, FullAttention) and length <= tuning.kept_length:
        merged = (array.reshape(-1, *array.shape[2:]) for array in (grouped, k, v))
        result = causal_attention(*merged, tuning.query_rows).reshape(grouped.shape)
    else:
        rows = _whole_blocks(q.shape[1], tuning.block_rows) if shared else tuning.block_rows
        pairs = block_pairs(kind if prefix is None else None, length, rows, tuning.block_rows)
        result = blocked_attention(
            function, learned, prefix, grouped, k, v, pairs, rows, tuning.block_rows, start // rows
        )
    return result.swapaxes(1, 2).reshape(q.shape)


@jax.custom_vjp
def _whole_sequences(x: jax.Array) -> jax.Array:
    """This device's positions [B, T, K, Q] → those of all that share the sequences.

    The derivative is a sum over these devices, of which each gets its part, in float32 as sums over blocks are.
    """
    return jax.lax.all_gather(x, "sequence", axis=1, tiled=True)


def _whole_backward(_: None, d: jax.Array) -> tuple[jax.Array]:
    own = jax.lax.psum_scatter(d.astype(jnp.float32), "sequence", scatter_dimension=1, tiled=True)
    return (own.astype(d.dtype),)


_whole_sequences.defvjp(lambda x: (_whole_sequences(x), None), _whole_backward)


def _whole_blocks(length: int, most: int) -> int:
    """The rows of a block, `most` or fewer, that `length` is a multiple of."""
    return next(rows for rows in range(min(most, length), 0, -1) if length % rows == 0)


def by_group(q: jax.Array, groups: int) -> jax.Array:
    """Queries [B, T, H, Q] → [B, K, T, G, Q]."""
    batch, length, _, size = q.shape
    return q.reshape(batch, length, groups, -1, size).swapaxes(1, 2)


def attend(scores: Scores, q: jax.Array, k: jax.Array, v: jax.Array, queries: jax.Array, keys: jax.Array) -> jax.Array:
    """The plain form, for decoding: q [B, K, rows, G, Q], k and v [B, K, cols, Q] → q's shape, softmax in float32.

    `queries` [rows] and `keys` [cols] are positions.
    """
    weights = jax.nn.softmax(scores.function(scores.learned, scores.prefix, q, k, queries, keys), axis=-1)
    merged = weights.astype(v.dtype).reshape(*q.shape[:2], -1, k.shape[2])
    return jnp.matmul(merged, v, preferred_element_type=jnp.float32).reshape(q.shape).astype(q.dtype)
