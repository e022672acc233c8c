"""Tests the cache that stores all positions."""

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.decoding.caches.cache import Places
from palmetto.decoding.caches.contiguous import ContiguousCache

AT = Places(jnp.array([[0, 1]]))


def test_each_layer_is_written_separately() -> None:
    cache = ContiguousCache.empty(2, (1, 1, 4, 1), "float32").reserve(AT)
    new = jnp.ones((1, 2, 1, 1))
    cache = cache.write(1, new, 2 * new, AT)
    assert not np.any(cache.read(0, AT).keys)
    assert np.asarray(cache.read(1, AT).keys).ravel().tolist() == [1, 1, 0, 0]
    assert np.asarray(cache.read(1, AT).values).ravel().tolist() == [2, 2, 0, 0]


def test_a_donated_cache_is_updated_in_place() -> None:
    cache = ContiguousCache.empty(2, (1, 1, 64, 8), "float32")
    write = jax.jit(lambda cache, new, at: cache.write(1, new, new, Places(at)), donate_argnums=0)
    analysis = write.lower(cache, jnp.ones((1, 1, 1, 8)), jnp.array([[3]])).compile().memory_analysis()
    assert analysis is not None
    assert analysis.alias_size_in_bytes >= 4 * 64 * 8 * 4, "four arrays of float32"
