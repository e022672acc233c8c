"""The router of a mixture of experts: it chooses each token's experts and their weights, and measures the balance.

It gives each token a distribution over E experts. The `top` most probable ones process the token, and their outputs are
weighted by the renormalized probabilities (GLaM, arXiv 2112.06905, section 4; GShard, arXiv 2006.16668, section 2.2).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Routing(NamedTuple):
    """Holds the statistics of a layer's router, in float32: means over sequences, independent of the batching.

    Devices that share sequences each hold a summand of these means.
    """

    load: jax.Array
    """The fraction of all assignments that each expert received before any was dropped, [E]; sums to 1."""
    dropped: jax.Array
    """The fraction of assignments that were dropped because their expert was full."""
    entropy: jax.Array
    """The mean entropy of the gate, in nats."""
    balance: jax.Array
    """The load-balance loss E·Σ f·P per sequence, 1 for an even load (GShard, algorithm 1): f is the fraction of tokens
    whose first choice is an expert, P the expert's mean probability, which alone carries the gradient."""
    z: jax.Array
    """The mean log² of the gate's normalizer (arXiv 2202.08906, equation 5)."""


def route(x: jax.Array, router: jax.Array, top: int, sharers: int = 1) -> tuple[jax.Array, jax.Array, Routing]:
    """Returns the weights [B, T, top], the assignments as booleans [B, T·top, E], and the statistics except `dropped`.

    x [B, T, D] holds whole sequences or, if `sharers` > 1, this device's part of sequences that `sharers` devices along
    the mesh's axis `sequence` share.

    The most probable expert has the largest logit; of equal logits the lower number comes first. A softmax over the
    chosen logits alone gives the renormalized probabilities, exactly 1 for a single expert.
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
    if sharers > 1:
        first = jax.lax.pmean(first, "sequence")
    routing = Routing(
        load=jnp.mean(chosen, axis=(0, 1, 2), dtype=jnp.float32),
        dropped=jnp.zeros(()),
        entropy=-jnp.mean(jnp.sum(gate * log_gate, axis=-1)),
        balance=experts * jnp.mean(jnp.sum(first * jnp.mean(gate, axis=1), axis=-1)),
        z=jnp.mean(jnp.square(normalizer)),
    )
    if sharers > 1:
        routing = Routing(*(value / sharers for value in routing))
    return weights, chosen.reshape(x.shape[0], -1, experts), routing
