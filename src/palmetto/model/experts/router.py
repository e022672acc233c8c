"""The router of a mixture of experts: which experts a token goes to, with what weight, and how evenly that falls out.

It gives each token a distribution over E experts; the `top` likeliest take it, and their outputs are weighted by the
probabilities renormalized over these (GLaM, arXiv 2112.06905, section 4; GShard, arXiv 2006.16668, section 2.2).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Routing(NamedTuple):
    """What a layer's router did, in float32: means over the sequences, however these are batched.

    Of devices that share sequences each has a share of these means; they add up.
    """

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


def route(x: jax.Array, router: jax.Array, top: int, sharers: int = 1) -> tuple[jax.Array, jax.Array, Routing]:
    """Weights [B, T, top], the assignments [B, T·top, E] as truth values, and all of Routing but `dropped`.

    x [B, T, D]: whole sequences, or this device's share where so many `sharers` along the mesh's axis `sequence` have
    one.

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
