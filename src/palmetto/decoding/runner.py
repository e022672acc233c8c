"""Runs the compiled parts of a step on the cache that it holds."""

import hashlib
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np

from palmetto.decoding import step
from palmetto.decoding.blocks import SCRATCH
from palmetto.decoding.cached import rows_are_their_own
from palmetto.decoding.caches.paged import PagedCache
from palmetto.decoding.limits import Limits
from palmetto.decoding.request import TOP
from palmetto.decoding.rows import ASSORTMENTS, Asked, Share, ask, ask_nothing, lay_out, reported
from palmetto.decoding.strategies.strategy import Sizes
from palmetto.decoding.strategies.temperature import Draw
from palmetto.decoding.tables import Tables
from palmetto.model.layout import Arranged
from palmetto.model.tuning import ACCELERATOR, Tuning, for_platform
from palmetto.native.library import kernels
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model

BETWEEN_SIZES = 8
"""The ratio of a step's rows to the next smaller step's, if steps may differ. Each size is a program to compile."""

Program = Callable[[], object]
"""Compiles a program by running it on nothing."""


def choose_tuning(sharding: Sharding | None) -> Tuning:
    """Returns the tuning of steps on one device, or on the devices of a mesh."""
    on_mesh = sharding is not None and sharding.devices > 1
    return ACCELERATOR if on_mesh else for_platform(jax.devices()[0].platform)


class Computed(NamedTuple):
    """Holds what a step has brought each of its rows."""

    tokens: list[int]
    logprobs: list[float]
    """Their log-probabilities."""
    own_top: step.Top | None
    """The most probable tokens as they were chosen, if any row may report them."""
    top: step.Top | None
    """The tokens that the model finds most probable, if any row reports some."""


def _on_host(top: step.Top | None) -> step.Top | None:
    return None if top is None else step.Top(*map(np.asarray, top))  # type: ignore[arg-type]


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
        """Makes a cache of `blocks` blocks and the scratch block."""
        self._arranged, self._model, self._limits, self._vocabulary_size = arranged, model, limits, vocabulary_size
        self._sharding = sharding if sharding is not None and sharding.devices > 1 else None
        self._tuning = choose_tuning(sharding)
        self._own = rows_are_their_own(model, self._tuning)
        self._row_counts = [limits.rows]
        while self._own and (fewer := BETWEEN_SIZES ** (len(self._row_counts) - 1)) < limits.rows:
            self._row_counts.append(fewer)
        self._positions = limits.positions(model)
        self._program = step.program(model, self._tuning, vocabulary_size, self._own)
        self._learned = step.learn(arranged, model, self._positions)
        count = blocks + 1
        if self._sharding is not None:
            count = -(-count // self._sharding.sizes["data"]) * self._sharding.sizes["data"]  # a share for each
        shape = (count, model.key_value_heads, limits.block, model.query_size)
        self._cache = self._placed(PagedCache.empty(model.layers, shape, model.activations))
        self._quiet: dict[int, Asked] = {}

    @property
    def vocabulary(self) -> int:
        """The number of tokens that the model knows, with those that it does not generate."""
        return self._arranged.embedding.shape[0]

    def rows(self, least: int) -> int:
        """Returns the number of rows of a step with room for `least`: always R, if bits depend on it.

        If more are needed at once, it is the next power of two.
        """
        return min((count for count in self._row_counts if count >= least), default=1 << (least - 1).bit_length())

    @property
    def fingerprint(self) -> str:
        """The digest of all that bits depend on besides the weights, to which adapters were added, and the request."""
        limits, mesh = self._limits, self._sharding.sizes if self._sharding else {}
        sizes = 0 if self._own else limits.rows, limits.block, self._positions, self._vocabulary_size
        where = jaxlib.version.__version__, jax.devices()[0].device_kind, self._tuning, kernels().name, mesh
        everything = self._model.model_dump_json(exclude={"lora"}), str(self._arranged.embedding.dtype), sizes, where
        return hashlib.sha256(repr(everything).encode()).hexdigest()[:16]

    def compute(self, shares: list[Share], count: int, tables: Tables) -> Computed:
        """Returns the choices of a step of `count` rows, on the host."""
        if all(share.quiet for share in shares):
            asked = self._nothing(count)._replace(top=reported(shares))
        else:
            asked = ask(shares, self._sizes(count))
        return self._compute(lay_out(shares, count, tables), tables, asked)

    def programs(self, tables: Tables, prefix: int) -> list[Program]:
        """Returns calls that compile what steps can need, by steps whose rows belong to no sequence.

        prefix: the length of the longest prefix whose positions see each other.
        """
        longest, found = max(self._limits.rows, prefix), list[Program]()
        for count in sorted({self.rows(min(1 << power, longest)) for power in range(longest.bit_length() + 1)}):
            nothing, sizes = lay_out([], count, tables), self._sizes(count)
            for held, top in zip_longest(ASSORTMENTS, self._tops, fillvalue=None):
                asked = ask_nothing(sizes, held) if held else self._nothing(count)
                found.append(partial(self._compute, nothing, tables, asked._replace(top=top or 0)))
        return [*found, partial(self.copy, {SCRATCH: SCRATCH})]

    def _compute(self, rows: step.Rows, tables: Tables, asked: Asked) -> Computed:
        # Tables are copied, since they change while arrays of the host may still be those of the device.
        entries = tables.blocks.copy(), tables.starts.copy()
        rows, entries, wanted, draw, processed, uses = self._everywhere(
            (rows, entries, asked.wanted, asked.draw, asked.processed, asked.uses)
        )
        given = self._arranged, self._learned, rows, self._cache.with_tables(*entries), wanted, draw
        scores, chosen, self._cache = self._program(*given)
        if uses:
            chosen = step.choose(scores, wanted, draw, processed, uses, self._vocabulary_size, self._own)
        top = self._most_probable(scores, asked.top) if asked.top else None
        # One array after the other: jax.device_get takes longer than what a step of one row does besides.
        tokens, logprobs = (np.asarray(array).tolist() for array in (chosen.tokens, chosen.logprobs))
        return Computed(tokens, logprobs, _on_host(chosen.top), _on_host(top))

    def _most_probable(self, scores: step.Scores, least: int) -> step.Top:
        """Returns the most probable tokens of each row, at least as many as are reported."""
        count = next((most for most in self._tops if most >= least), 1 << (least - 1).bit_length())
        return step.most_probable(scores, count, self._vocabulary_size)

    def _nothing(self, count: int) -> Asked:
        """Returns what rows ask that choose greedily: arrays that lie on the device, since no step changes them."""
        if count not in self._quiet:
            nothing = ask_nothing(self._sizes(count))
            draw = Draw(*map(jnp.asarray, nothing.draw))
            self._quiet[count] = nothing._replace(wanted=jnp.asarray(nothing.wanted), draw=draw)  # type: ignore[arg-type]
        return self._quiet[count]

    @property
    def _tops(self) -> tuple[int, ...]:
        """The numbers of most probable tokens that are computed: as many as are reported, or as beams need."""
        return TOP, 1 << self._limits.sequences.bit_length()

    def _sizes(self, rows: int) -> Sizes:
        return Sizes(rows, self._vocabulary_size, self._positions)

    def copy(self, copies: dict[int, int]) -> None:
        """Copies blocks, given the source of each target; with few numbers of them, so that there are few programs."""
        count = max(self._limits.sequences, 1 << (len(copies) - 1).bit_length())
        pairs = np.zeros((2, count), np.int32)
        pairs[:, : len(copies)] = list(copies.values()), list(copies)
        self._cache = step.copy(self._cache, *self._everywhere((pairs[0], pairs[1])))

    def _placed(self, cache: PagedCache) -> PagedCache:
        if self._sharding is None:
            return cache
        there, everywhere = self._sharding.place(self._sharding.cache), self._sharding.place()
        placed: PagedCache = jax.tree.map(
            lambda array: jax.device_put(array, there if array.ndim == 4 else everywhere), cache
        )
        return placed

    def _everywhere(self, arrays: Any) -> Any:
        """Returns arrays of the host as the step takes them."""
        return arrays if self._sharding is None else self._sharding.everywhere(arrays)
