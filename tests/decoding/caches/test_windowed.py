"""Tests which positions the windowed cache holds, and in which slots."""

import jax.numpy as jnp
import numpy as np

from palmetto.decoding.caches.cache import Places
from palmetto.decoding.caches.windowed import WindowedCache
from palmetto.recipe.parts import Kept

KEPT, SIZE = Kept(first=2, last=3), 7


def test_it_holds_the_first_positions_and_the_last() -> None:
    cache = WindowedCache.empty(1, (1, 1, SIZE, 1), "float32", KEPT)
    for length in range(1, 31):
        positions = cache.length[:, None]
        marked = positions[..., None, None].astype(jnp.float32)
        places = Places(positions)
        cache = cache.reserve(places).write(0, marked, -marked, places)
        seen = cache.read(0, places)
        held = {p: slot for slot, p in enumerate(seen.positions[0].tolist()) if p < length}
        wanted = {*range(min(length, KEPT.first)), *range(max(0, length - KEPT.last), length)}
        assert wanted <= held.keys()
        for position, slot in held.items():
            assert (seen.keys[0, 0, slot, 0], seen.values[0, 0, slot, 0]) == (position, -position)


def test_empty_slots_have_positions_after_every_query() -> None:
    cache = WindowedCache.empty(1, (1, 1, SIZE, 1), "float32", KEPT).reserve(Places(jnp.arange(3)[None]))
    assert sorted(np.asarray(cache.positions[0]).tolist()) == list(range(SIZE))
    assert cache.length.tolist() == [3]
