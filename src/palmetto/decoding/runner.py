"""Runs the compiled parts of a step on the cache that it holds."""

import hashlib
from typing import Any

import jax
import jaxlib.version
import numpy as np

from palmetto.decoding import step
from palmetto.decoding.caches.paged import PagedCache
from palmetto.decoding.limits import Limits
from palmetto.decoding.rows import Share, ask, lay_out
from palmetto.decoding.tables import Tables
from palmetto.model.layout import Arranged
from palmetto.model.tuning import ACCELERATOR, for_platform
from palmetto.native.library import kernels
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model


class Runner:
    """Holds a model's weights and its cache on the device, or on the devices of a mesh."""

    def __init__(
        self,
        arranged: Arranged,
        model: Model,
        limits: Limits,
        blocks: int,
        vocabulary_size: int,
        sharding: Sharding | None,
    ) -> None:
        """Makes a cache of so many blocks and the scratch block."""
        self._arranged, self._model, self._limits, self._vocabulary_size = arranged, model, limits, vocabulary_size
        self._sharding = sharding if sharding is not None and sharding.devices > 1 else None
        self._tuning = ACCELERATOR if self._sharding else for_platform(jax.devices()[0].platform)
        self._learned = step.learn(arranged, model, limits.positions(model))
        shape = (blocks + 1, model.key_value_heads, limits.block, model.query_size)
        self._cache = self._placed(PagedCache.empty(model.layers, shape, model.activations))

    @property
    def vocabulary(self) -> int:
        """The number of tokens that the model knows, with those that it does not generate."""
        return len(self._arranged.embedding)

    @property
    def fingerprint(self) -> str:
        """The digest of all that bits depend on besides the weights and the request."""
        limits, mesh = self._limits, self._sharding.sizes if self._sharding else {}
        sizes = limits.rows, limits.block, limits.positions(self._model), self._vocabulary_size
        where = jaxlib.version.__version__, jax.devices()[0].device_kind, self._tuning, kernels().name, mesh
        everything = self._model.model_dump_json(), str(self._arranged.embedding.dtype), sizes, where
        return hashlib.sha256(repr(everything).encode()).hexdigest()[:16]

    def compute(self, shares: list[Share], count: int, tables: Tables) -> step.Chosen:
        """Returns the choices of a step of `count` rows, on the host."""
        # Tables are copied, since they change while arrays of the host may still be those of the device.
        entries = tables.blocks.copy(), tables.starts.copy()
        asked = ask(shares, count, self._vocabulary_size)
        rows, entries, wanted, draw, parameters = self._everywhere(
            (lay_out(shares, count, tables), entries, asked.wanted, asked.draw, asked.parameters)
        )
        cache = self._cache.with_tables(*entries)
        scores, self._cache = step.forward(self._arranged, self._learned, rows, cache, self._model, self._tuning)
        chosen = step.choose(scores, wanted, draw, parameters, asked.top, self._vocabulary_size)
        on_host: step.Chosen = jax.device_get(chosen)
        return on_host

    def copy(self, copies: dict[int, int]) -> None:
        """Copies blocks, given the source of each target; with few numbers of them, so that there are few programs."""
        count = max(self._limits.sequences, 1 << (len(copies) - 1).bit_length())
        pairs = np.zeros((2, count), np.int32)
        pairs[:, : len(copies)] = list(copies.values()), list(copies)
        self._cache = step.copy(self._cache, *self._everywhere((pairs[0], pairs[1])))

    def _placed(self, cache: PagedCache) -> PagedCache:
        if self._sharding is None:
            return cache
        there, everywhere = self._sharding.place((None, *self._sharding.cache[1:])), self._sharding.place()
        placed: PagedCache = jax.tree.map(
            lambda array: jax.device_put(array, there if array.ndim == 4 else everywhere), cache
        )
        return placed

    def _everywhere(self, arrays: Any) -> Any:
        """Returns arrays of the host as the step takes them."""
        return arrays if self._sharding is None else self._sharding.everywhere(arrays)
