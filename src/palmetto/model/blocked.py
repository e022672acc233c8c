"""Attention block by block, whatever its scores: memory grows with the length, work with what is visible.

Softmax is taken online (Milakov and Gimelshein, arXiv 1805.02867): a block of queries goes over its blocks of keys with
a running maximum and sum, and the backward pass forms the weights again from scores and log-sum-exp (FlashAttention,
arXiv 2205.14135). In shapes below, B sequences, T positions, K heads of keys and values, each shared by G heads of
queries, Q the head size; `rows` and `columns` are the positions of a block of queries and of keys.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.model.products import in_float32, transposed

HIDDEN = -1e30
"""The score of what is not visible: no weight, and finite, so that no difference of two is undefined."""

ScoreFunction = Callable[[Any, Any, jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
"""(parameters, constants, q, k, query positions, key positions) → scores.

q [B, K, rows, G, Q], k [B, K, columns, Q] and int32 positions [rows], [columns] to float32 [B, K, rows, G, columns],
HIDDEN where nothing is to be seen. Positions can lie behind the sequence; what is scored there does not count.
"""

Pairs = npt.NDArray[np.int32]
Kept = tuple[Any, Any, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
Sums = tuple[jax.Array, jax.Array, jax.Array]


def blocked_attention(
    scores: ScoreFunction,
    parameters: Any,
    constants: Any,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pairs: Pairs,
    query_rows: int,
    key_rows: int,
    first: jax.Array | int = 0,
) -> jax.Array:
    """Returns softmax(scores)·v, [B, K, T, G, Q] in q's dtype, of q [B, K, T, G, Q], k and v [B, K, T, Q].

    scores: with static values alone in its closure; differentiated for `parameters`, a pytree of float arrays, and for
    q and k, but not for `constants`, a pytree of any arrays.
    pairs: the (query block, key block) in which anything is visible, as masks.block_pairs gives them for blocks of
    query_rows and key_rows positions. Work is in proportion to them; a length of one block costs no loop.
    first: of a part of the queries alone, whole blocks of them, the block that it begins with; pairs are of all.
    Sums are float32, those of derivatives over blocks included; a block's share of these has its array's dtype.
    """
    length = q.shape[2]
    blocks = _Blocks(scores, pairs, k.shape[2], query_rows, key_rows)
    q, k, v = _padded(q, query_rows), _padded(k, key_rows), _padded(v, key_rows)
    return _attention(blocks, parameters, constants, jnp.asarray(first), q, k, v)[:, :, :length]


@jax.custom_vjp
def products(q: jax.Array, k: jax.Array) -> jax.Array:
    """Returns q·k in float32 [B, K, rows, G, columns], of q [B, K, rows, G, Q] and k [B, K, columns, Q]."""
    return in_float32(_merged(q), k.mT).reshape(*q.shape[:-1], -1)


def _products_forward(q: jax.Array, k: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return products(q, k), (q, k)


def _products_backward(kept: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    q, k = kept
    d = _merged(d).astype(q.dtype)
    dk = in_float32(transposed(_merged(q)), d).mT
    return in_float32(d, k).reshape(q.shape).astype(q.dtype), dk.astype(k.dtype)


products.defvjp(_products_forward, _products_backward)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """What of an attention is known before it is run. Arrays below are padded to whole blocks."""

    of_block: ScoreFunction
    pairs: Pairs
    length: int
    query_rows: int
    key_rows: int

    def __post_init__(self) -> None:
        present = np.unique(self.pairs[:, 0])
        assert len(present) == -(-self.length // self.query_rows), "a query block without any key"

    def ranges(self) -> tuple[jax.Array, jax.Array]:
        """Returns where the pairs of each query block start and end [n + 1], and the key block of each pair [P]."""
        numbers = np.arange(int(self.pairs[-1, 0]) + 2, dtype=np.int32)
        starts = np.searchsorted(self.pairs[:, 0], numbers).astype(np.int32)
        return jnp.asarray(starts), jnp.asarray(self.pairs[:, 1])

    def numbers(self, q: jax.Array) -> jax.Array:
        """Returns the numbers of q's blocks in order, counted from 0."""
        return jnp.arange(q.shape[2] // self.query_rows, dtype=jnp.int32)

    def scores(
        self, parameters: Any, constants: Any, q: jax.Array, k: jax.Array, i: jax.Array, j: jax.Array
    ) -> jax.Array:
        """Returns those of query block i and key block j, [B, K, rows · G, columns]; HIDDEN behind the sequence."""
        queries = i * self.query_rows + jnp.arange(self.query_rows, dtype=jnp.int32)
        keys = j * self.key_rows + jnp.arange(self.key_rows, dtype=jnp.int32)
        scores = _merged(self.of_block(parameters, constants, q, k, queries, keys))
        return scores if self.length % self.key_rows == 0 else jnp.where(keys < self.length, scores, HIDDEN)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    blocks: _Blocks, parameters: Any, constants: Any, first: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array
) -> jax.Array:
    return _forward(blocks, parameters, constants, first, q, k, v)[0]


def _forward(
    blocks: _Blocks, parameters: Any, constants: Any, first: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array
) -> tuple[jax.Array, Kept]:
    """Returns the output, and beside its arguments keeps it and each row's log-sum-exp [n, B, K, rows · G, 1]."""
    starts, key_blocks = blocks.ranges()

    def attend(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        own, i = _block(q, number, blocks.query_rows), first + number

        def meet(pair: jax.Array, sums: Sums) -> Sums:
            maximum, total, weighted = sums
            j = key_blocks[pair]
            scores = blocks.scores(parameters, constants, own, _block(k, j, blocks.key_rows), i, j)
            higher = jnp.maximum(maximum, jnp.max(scores, axis=-1, keepdims=True))
            # A row that has seen nothing yet weighs what is hidden alike; its first visible score fades that to zero.
            fading, weights = jnp.exp(maximum - higher), jnp.exp(scores - higher)
            share = in_float32(weights.astype(v.dtype), _block(v, j, blocks.key_rows))
            total = total * fading + jnp.sum(weights, axis=-1, keepdims=True)
            return higher, total, weighted * fading + share

        zeros = jnp.zeros(_merged(own).shape, jnp.float32)
        zero = zeros[..., :1]
        start, end = starts[i], starts[i + 1]
        maximum, total, weighted = jax.lax.fori_loop(start, end, meet, (zero + HIDDEN, zero, zeros))
        return (weighted / total).astype(q.dtype), maximum + jnp.log(total)

    output, normalizers = jax.lax.map(attend, blocks.numbers(q))
    output = _joined(output, q)
    return output, (parameters, constants, first, q, k, v, output, normalizers)


def _backward(blocks: _Blocks, kept: Kept, d: jax.Array) -> tuple[Any, None, None, jax.Array, jax.Array, jax.Array]:
    """Returns the derivatives. With weights p and output o: ds = p ⊙ (d·vᵀ − rowsum(d ⊙ o)), dv = pᵀ·d.

    The scores take ds further. dv is gathered transposed, [B, K, Q, T]: products with the narrow matrix first are
    quicker on a CPU.
    """
    parameters, constants, first, q, k, v, output, normalizers = kept
    starts, key_blocks = blocks.ranges()

    def attend(sums: Any, row: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        number, normalizer = row
        own, d_own, o_own = (_block(x, number, blocks.query_rows) for x in (q, d, output))
        i = first + number
        d_own = _merged(d_own)
        d_turned = transposed(d_own)
        along = jnp.sum(d_own.astype(jnp.float32) * _merged(o_own), axis=-1, keepdims=True)

        def meet(pair: jax.Array, sums: Any) -> Any:
            dq, dparameters, dk, dv = sums
            j = key_blocks[pair]
            k_block, v_block = (_block(x, j, blocks.key_rows) for x in (k, v))
            scores, pull = jax.vjp(lambda p, q, k: blocks.scores(p, constants, q, k, i, j), parameters, own, k_block)
            weights = jnp.exp(scores - normalizer)
            shares, dq_share, dk_share = pull(weights * (in_float32(d_own, v_block.mT) - along))
            dv_share = in_float32(d_turned, weights.astype(d.dtype))
            dparameters = jax.tree.map(jnp.add, dparameters, shares)
            return dq + dq_share, dparameters, _add(dk, dk_share, j, 2), _add(dv, dv_share, j, 3)

        dq, *sums = jax.lax.fori_loop(starts[i], starts[i + 1], meet, (jnp.zeros(own.shape, jnp.float32), *sums))
        return tuple(sums), _merged(dq).astype(q.dtype)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), (parameters, k, v.mT))
    (dparameters, dk, dv), dq = jax.lax.scan(attend, zeros, (blocks.numbers(q), normalizers))
    dparameters = jax.tree.map(lambda sum, x: sum.astype(x.dtype), dparameters, parameters)
    return dparameters, None, None, _joined(dq, q), dk.astype(k.dtype), dv.mT.astype(v.dtype)


_attention.defvjp(_forward, _backward)


def _padded(x: jax.Array, rows: int) -> jax.Array:
    """Returns x [B, K, T, …] with zeros behind it up to a multiple of `rows`."""
    return jnp.pad(x, [(0, 0), (0, 0), (0, -x.shape[2] % rows)] + [(0, 0)] * (x.ndim - 3))


def _block(x: jax.Array, i: jax.Array, rows: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, i * rows, rows, 2)


def _add(x: jax.Array, share: jax.Array, i: jax.Array, axis: int) -> jax.Array:
    """Returns x with `share` added to its block i along an axis."""
    start = i * share.shape[axis]
    present = jax.lax.dynamic_slice_in_dim(x, start, share.shape[axis], axis)
    return jax.lax.dynamic_update_slice_in_dim(x, present + share, start, axis)


def _merged(x: jax.Array) -> jax.Array:
    """Returns [B, K, rows, G, n] as [B, K, rows · G, n]."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _joined(x: jax.Array, like: jax.Array) -> jax.Array:
    """Returns blocks [n, B, K, rows · G, Q] in the shape of q, [B, K, T, G, Q]."""
    return jnp.moveaxis(x, 0, 2).reshape(like.shape)
