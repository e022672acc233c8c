"""Computes attention block by block for any score function.

Memory grows linearly with the length, and work with the number of visible blocks. Softmax is computed online (Milakov
and Gimelshein, arXiv 1805.02867): each block of queries visits its blocks of keys with a running maximum and sum, and
the backward pass recomputes the weights from scores and log-sum-exp (FlashAttention, arXiv 2205.14135). In the shapes
below there are B sequences, T positions and K key/value heads of size Q, each shared by G query heads; `rows` and
`columns` are the positions of a block of queries and of keys.
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
"""The score of an invisible key: its weight is zero, but it is finite, so that the difference of two is defined."""

ScoreFunction = Callable[[Any, Any, jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
"""(parameters, constants, q, k, query positions, key positions) → scores.

q is [B, K, rows, G, Q], k is [B, K, columns, Q], and positions are int32 [rows] and [columns]. Scores are float32
[B, K, rows, G, columns], HIDDEN where a query does not see a key. Positions after the end of the sequence may occur;
their scores are ignored.
"""

Pairs = npt.NDArray[np.int32]
Residuals = tuple[Any, Any, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
SoftmaxSums = tuple[jax.Array, jax.Array, jax.Array]


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
    """Returns softmax(scores)·v, [B, K, T, G, Q] in q's dtype, for q [B, K, T, G, Q] and k and v [B, K, T, Q].

    scores: a function whose closure holds static values only. It is differentiated with respect to q, k and
    `parameters`, a pytree of float arrays, but not to `constants`, a pytree of any arrays.
    pairs: the pairs (query block, key block) in which anything is visible, as returned by masks.block_pairs for blocks
    of query_rows and key_rows positions. The work is proportional to their number.
    first: the number of the first query block, if q holds only some of the blocks; `pairs` always covers all of them.
    Sums are float32, and so are the sums of derivatives over blocks; each block's term has its array's dtype.
    """
    length = q.shape[2]
    blocks = _Blocks(scores, pairs, k.shape[2], query_rows, key_rows)
    q, k, v = _padded(q, query_rows), _padded(k, key_rows), _padded(v, key_rows)
    return _attention(blocks, parameters, constants, jnp.asarray(first), q, k, v)[:, :, :length]


@jax.custom_vjp
def products(q: jax.Array, k: jax.Array) -> jax.Array:
    """Returns q·k in float32, [B, K, rows, G, columns], for q [B, K, rows, G, Q] and k [B, K, columns, Q]."""
    return in_float32(_merged(q), k.mT).reshape(*q.shape[:-1], -1)


def _products_forward(q: jax.Array, k: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return products(q, k), (q, k)


def _products_backward(residuals: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    q, k = residuals
    d = _merged(d).astype(q.dtype)
    dk = in_float32(transposed(_merged(q)), d).mT
    return in_float32(d, k).reshape(q.shape).astype(q.dtype), dk.astype(k.dtype)


products.defvjp(_products_forward, _products_backward)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Holds the static description of an attention's blocks. Its methods take arrays padded to whole blocks."""

    of_block: ScoreFunction
    pairs: Pairs
    length: int
    query_rows: int
    key_rows: int

    def __post_init__(self) -> None:
        present = np.unique(self.pairs[:, 0])
        assert len(present) == -(-self.length // self.query_rows), "a query block without any key"

    def ranges(self) -> tuple[jax.Array, jax.Array]:
        """Returns the offsets [n + 1] of each query block's pairs, and the key block [P] of each pair."""
        numbers = np.arange(int(self.pairs[-1, 0]) + 2, dtype=np.int32)
        starts = np.searchsorted(self.pairs[:, 0], numbers).astype(np.int32)
        return jnp.asarray(starts), jnp.asarray(self.pairs[:, 1])

    def numbers(self, q: jax.Array) -> jax.Array:
        """Returns the numbers of q's blocks, from 0."""
        return jnp.arange(q.shape[2] // self.query_rows, dtype=jnp.int32)

    def scores(
        self, parameters: Any, constants: Any, q: jax.Array, k: jax.Array, i: jax.Array, j: jax.Array
    ) -> jax.Array:
        """Returns the scores [B, K, rows · G, columns] of query block i and key block j.

        They are HIDDEN for keys after the end of the sequence.
        """
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
) -> tuple[jax.Array, Residuals]:
    """Returns the output and the residuals: arguments, output and each row's log-sum-exp [n, B, K, rows · G, 1]."""
    starts, key_blocks = blocks.ranges()

    def attend(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        own, i = _block(q, number, blocks.query_rows), first + number

        def accumulate(pair: jax.Array, sums: SoftmaxSums) -> SoftmaxSums:
            maximum, total, weighted = sums
            j = key_blocks[pair]
            scores = blocks.scores(parameters, constants, own, _block(k, j, blocks.key_rows), i, j)
            higher = jnp.maximum(maximum, jnp.max(scores, axis=-1, keepdims=True))
            # A row without a visible key so far weights hidden keys equally; its first visible score resets them to 0.
            fading, weights = jnp.exp(maximum - higher), jnp.exp(scores - higher)
            share = in_float32(weights.astype(v.dtype), _block(v, j, blocks.key_rows))
            total = total * fading + jnp.sum(weights, axis=-1, keepdims=True)
            return higher, total, weighted * fading + share

        zeros = jnp.zeros(_merged(own).shape, jnp.float32)
        zero = zeros[..., :1]
        start, end = starts[i], starts[i + 1]
        maximum, total, weighted = jax.lax.fori_loop(start, end, accumulate, (zero + HIDDEN, zero, zeros))
        return (weighted / total).astype(q.dtype), maximum + jnp.log(total)

    output, normalizers = jax.lax.map(attend, blocks.numbers(q))
    output = _joined(output, q)
    return output, (parameters, constants, first, q, k, v, output, normalizers)


def _backward(
    blocks: _Blocks, residuals: Residuals, d: jax.Array
) -> tuple[Any, None, None, jax.Array, jax.Array, jax.Array]:
    """Returns the derivatives. With weights p and output o: ds = p ⊙ (d·vᵀ − rowsum(d ⊙ o)), dv = pᵀ·d.

    ds is propagated through the score function. dv is accumulated transposed, [B, K, Q, T]: on a CPU products are
    faster with the narrow matrix first.
    """
    parameters, constants, first, q, k, v, output, normalizers = residuals
    starts, key_blocks = blocks.ranges()

    def attend(sums: Any, row: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        number, normalizer = row
        own, d_own, o_own = (_block(x, number, blocks.query_rows) for x in (q, d, output))
        i = first + number
        d_own = _merged(d_own)
        d_transposed = transposed(d_own)
        row_sums = jnp.sum(d_own.astype(jnp.float32) * _merged(o_own), axis=-1, keepdims=True)

        def accumulate(pair: jax.Array, sums: Any) -> Any:
            dq, dparameters, dk, dv = sums
            j = key_blocks[pair]
            k_block, v_block = (_block(x, j, blocks.key_rows) for x in (k, v))
            scores, pull = jax.vjp(lambda p, q, k: blocks.scores(p, constants, q, k, i, j), parameters, own, k_block)
            weights = jnp.exp(scores - normalizer)
            shares, dq_share, dk_share = pull(weights * (in_float32(d_own, v_block.mT) - row_sums))
            dv_share = in_float32(d_transposed, weights.astype(d.dtype))
            dparameters = jax.tree.map(jnp.add, dparameters, shares)
            return dq + dq_share, dparameters, _add(dk, dk_share, j, 2), _add(dv, dv_share, j, 3)

        dq, *sums = jax.lax.fori_loop(starts[i], starts[i + 1], accumulate, (jnp.zeros(own.shape, jnp.float32), *sums))
        return tuple(sums), _merged(dq).astype(q.dtype)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), (parameters, k, v.mT))
    (dparameters, dk, dv), dq = jax.lax.scan(attend, zeros, (blocks.numbers(q), normalizers))
    dparameters = jax.tree.map(lambda sum, x: sum.astype(x.dtype), dparameters, parameters)
    return dparameters, None, None, _joined(dq, q), dk.astype(k.dtype), dv.mT.astype(v.dtype)


_attention.defvjp(_forward, _backward)


def _padded(x: jax.Array, rows: int) -> jax.Array:
    """Returns x [B, K, T, …] with T padded with zeros to a multiple of `rows`."""
    return jnp.pad(x, [(0, 0), (0, 0), (0, -x.shape[2] % rows)] + [(0, 0)] * (x.ndim - 3))


def _block(x: jax.Array, i: jax.Array, rows: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, i * rows, rows, 2)


def _add(x: jax.Array, share: jax.Array, i: jax.Array, axis: int) -> jax.Array:
    """Returns x with `share` added to block i along an axis."""
    start = i * share.shape[axis]
    present = jax.lax.dynamic_slice_in_dim(x, start, share.shape[axis], axis)
    return jax.lax.dynamic_update_slice_in_dim(x, present + share, start, axis)


def _merged(x: jax.Array) -> jax.Array:
    """Returns x [B, K, rows, G, n] reshaped to [B, K, rows · G, n]."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _joined(x: jax.Array, like: jax.Array) -> jax.Array:
    """Returns blocks [n, B, K, rows · G, Q] joined to the shape of q, [B, K, T, G, Q]."""
    return jnp.moveaxis(x, 0, 2).reshape(like.shape)
