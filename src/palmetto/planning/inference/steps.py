"""Lowers a step of decoding or of prefill for chips that are only described, divided as a layout says.

The step is the forward pass as decoding runs it, with the greedy choice of the next tokens. XLA divides it: the places
of weights, tokens and the cache are given, those of queries, keys and values are asked for around attention, and the
rest follows.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Format, Layout

from palmetto.decoding import step as steps
from palmetto.decoding.cached import extend
from palmetto.decoding.caches.cache import Places
from palmetto.decoding.caches.contiguous import ContiguousCache
from palmetto.decoding.partition import Partition
from palmetto.decoding.strategies.temperature import Draw
from palmetto.model.attention import attention
from palmetto.model.decoder import Forward, LayerAttention, logits
from palmetto.model.layout import Arranged, Layer
from palmetto.model.sequences import WHOLE
from palmetto.parallel.placement import coordinates
from palmetto.planning.inference.arrays import TUNING, Arrays, spec
from palmetto.planning.inference.division import Division, without
from palmetto.planning.inference.layouts import Axes
from palmetto.planning.inference.phases import Phase
from palmetto.planning.lowering import Lowered
from palmetto.recipe import Recipe
from palmetto.recipe.model import Weights


def lower(recipe: Recipe, devices: Sequence[Any], phase: Phase, weights: Weights, division: Division) -> Lowered:
    """Returns a step of a phase, with weights held in a type, for the devices of a slice."""
    arrays = Arrays(recipe, division, sorted(devices, key=coordinates))
    cache = arrays.cache(phase)
    by = division.layout.gathered
    given = (
        arrays.weights(weights),
        arrays.abstract((phase.batch, phase.new), jnp.int32, by),
        arrays.abstract((phase.batch, phase.new), jnp.int32, by),
        cache,
    )

    def as_best(arrays: Any) -> Any:
        """Returns the places of arrays, in the layout in memory that the compiler likes best."""
        return jax.tree.map(lambda array: Format(Layout.AUTO, array.sharding), arrays)

    step = Step(recipe, arrays, division)
    take = jax.jit(
        step.decode if phase.name == "decode" else step.prefill,
        donate_argnums=3,
        in_shardings=(as_best(given[0]), None, None, as_best(cache)),
        out_shardings=(None, as_best(cache)),
    )
    return Lowered(take.lower(*given), given, list(arrays.mesh.devices.flat))


class Step:
    """Computes steps of a model whose arrays lie on chips as a division says.

    Both phases take the arranged weights, tokens [B, T] and their positions [B, T], and the cache. They return the
    tokens that follow each sequence, and the cache with the new ones.
    """

    def __init__(self, recipe: Recipe, arrays: Arrays, division: Division) -> None:
        self._model, self._size = recipe.model, recipe.tokens.vocabulary_size
        self._arrays, self._division = arrays, division
        fetch = arrays.fetch if division.layout.gathered else None
        self._partition = Partition(self._place, self._around, self._end, fetch)

    def decode(
        self, arranged: Arranged, tokens: jax.Array, positions: jax.Array, cache: ContiguousCache
    ) -> tuple[steps.Chosen, ContiguousCache]:
        """Computes one more token of each sequence."""
        scores, cache = extend(
            arranged,
            tokens,
            Places(positions),
            cache,
            self._model,
            tuning=TUNING,
            partition=self._partition,
        )
        return self._choose(scores[:, 0]), cache.next_step()

    def prefill(
        self, arranged: Arranged, tokens: jax.Array, positions: jax.Array, cache: ContiguousCache
    ) -> tuple[steps.Chosen, ContiguousCache]:
        """Computes whole prompts, with attention as training computes it."""
        partition = self._partition
        forward = Forward(self._model, TUNING, rematerialize=None, place=partition.place)
        x = forward.begin(arranged, tokens, positions)
        attend = partition.around(self._whole(positions))
        x, _, cache = forward.through(arranged.layers, x, positions, attend, cache, fetch=partition.fetch)
        last = partition.end(forward.end(arranged, partition.place(x)[:, -1:]))
        return self._choose(logits(arranged.unembedding, last[:, 0])), cache.next_step()

    def _choose(self, scores: jax.Array) -> steps.Chosen:
        """Returns the most probable token of each row, as the engine chooses where nobody draws."""
        known = steps.Scores(scores, jax.nn.logsumexp(scores, axis=-1))
        none = jnp.zeros(len(scores), jnp.int32)
        greedy = Draw(none.astype(jnp.float32), jnp.zeros((len(scores), 2), jnp.uint32), none, none)
        return steps.choose(known, none - 1, greedy, none > 0, {}, self._size)

    def _whole(self, positions: jax.Array) -> LayerAttention:
        """Returns the attention of whole sequences, of which each chip computes its own, or its own heads of them."""
        division = self._division
        queries = spec(division.sequences, "", division.heads)
        keys = spec(division.sequences, "", division.key_value_heads)

        def attend(
            number: int, layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, cache: ContiguousCache
        ) -> tuple[jax.Array, ContiguousCache]:
            def own(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
                return attention({}, q, k, v, self._model, self._model.attention_of(number), TUNING, WHOLE)

            apart = jax.shard_map(
                own, mesh=self._arrays.mesh, in_specs=(queries, keys, keys), out_specs=queries, check_vma=False
            )
            return apart(q, k, v), cache.write(number, k, v, Places(positions))

        return attend

    def _place(self, x: jax.Array) -> jax.Array:
        """Returns the input of a layer; chips that divide the units of its weights each have all of it."""
        layout = self._division.layout
        return self._arrays.place(x, layout.gathered, "", without(layout.width, layout.gathered))

    def _end(self, states: jax.Array) -> jax.Array:
        """Returns the final states, divided as the embedding is."""
        return self._arrays.place(states, "", "", self._division.embedding[1])

    def _around(self, attend: LayerAttention) -> LayerAttention:
        """Returns an attention of arrays that lie as the division says.

        By batch, each chip has some of the heads of many sequences before it, and all heads of a few in it. Each step
        on the way is asked for, or XLA would gather the weights of queries instead of adding what they make.
        """
        division, place = self._division, self._arrays.place
        gathered = division.layout.gathered
        heads = without(division.units["heads"], gathered)
        queries = [
            (gathered, "", heads),
            (without(division.sequences, heads), "", heads),
            (division.sequences, "", division.heads),
        ]
        keys = [(gathered, "", ""), (division.sequences, "", division.key_value_heads)]

        def placed(array: jax.Array, way: Sequence[tuple[Axes, ...]]) -> jax.Array:
            for axes in way:
                array = place(array, *axes)
            return array

        def attend_placed(
            number: int, layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, cache: Any
        ) -> tuple[jax.Array, Any]:
            q, k, v = placed(q, queries), placed(k, keys), placed(v, keys)
            attended, cache = attend(number, layer, q, k, v, cache)
            return placed(attended, queries[::-1]), cache

        return attend_placed
