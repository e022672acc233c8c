"""The cache of sequences of one length, beside the whole forward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding.cached import extend
from palmetto.decoding.caches.cache import Places
from palmetto.decoding.caches.contiguous import ContiguousCache
from palmetto.model.decoder import Forward, logits
from palmetto.model.layout import arrange
from palmetto.model.tuning import ACCELERATOR
from palmetto.model.weights import Parameters, initialize
from tests.conftest import RecipeMaker

BATCH, LENGTH = 3, 8


@pytest.mark.slow
def test_logits_are_those_of_whole_sequences(tiny_recipe: RecipeMaker) -> None:
    """Layers are a loop, in which the cache counts them."""
    model = tiny_recipe("model.heads=4", "model.key_value_heads=2").model
    tokens = np.random.default_rng(0).integers(0, 300, (BATCH, LENGTH), np.int32)
    positions = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), tokens.shape)

    @jax.jit
    def compute(parameters: Parameters) -> tuple[jax.Array, jax.Array]:
        arranged = arrange(parameters, model, ACCELERATOR)
        states, _ = Forward(model, ACCELERATOR, rematerialize=None).states(arranged, jnp.asarray(tokens))
        empty = jnp.zeros((model.layers, BATCH, model.key_value_heads, LENGTH, model.query_size))
        cache, parts = ContiguousCache(empty, empty, jnp.int32(0)), []
        for part in (slice(0, 7), slice(7, 8)):
            places = Places(jnp.asarray(positions[:, part]))
            found, cache = extend(arranged, jnp.asarray(tokens[:, part]), places, cache, model)
            cache = cache.next_step()
            parts.append(found)
        return jnp.concatenate(parts, axis=1), logits(arranged.unembedding, states)

    found, expected = compute(initialize(model, 300, seed=1))
    np.testing.assert_allclose(found, expected, atol=2e-5)
