"""How a model fares on contexts longer than it was trained on, by each way of making it fit. Nothing is trained."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.errors import UserError
from palmetto.model import layout, tuning
from palmetto.model.decoder import hidden_states, logits
from palmetto.model.weights import Parameters
from palmetto.recipe import Recipe
from palmetto.recipe.model import (
    FullAttention,
    LearnedPositions,
    LocalAttention,
    MemoryAttention,
    Model,
    ParallelWindows,
    Positions,
    RotaryPositions,
    SinkAttention,
)
from palmetto.recipe.objectives import CausalObjective
from palmetto.tokens.store import TokenStore

SINKS, NEIGHBOURS = 4, 32


class Way(NamedTuple):
    """A model as it is run on long contexts."""

    name: str
    model: Model
    what: str
    """The change in words."""


class Curve(NamedTuple):
    """The losses of one way."""

    way: Way
    losses: npt.NDArray[np.float64]
    """[length]: mean cross-entropy in nats of predicting the token behind each position."""


def ways(recipe: Recipe, times: int) -> list[Way]:
    """The model as trained, and with each change of positions or attention that it can take, for T · times positions.

    UserError where no change helps: learned positions end where they end.
    """
    model, trained = recipe.model, recipe.model_length
    if isinstance(model.positions, LearnedPositions):
        raise UserError("model.positions.name=learned: no position beyond model.positions.length has a vector")
    if not isinstance(recipe.training.objective, CausalObjective):
        raise UserError(f"training.objective.name={recipe.training.objective.name}: expected causal, to read on and on")
    return [
        Way("as trained", model, "nothing"),
        *_by_positions(model, trained, times),
        *_by_attention(model, trained, times),
    ]


def _by_positions(model: Model, trained: int, times: int) -> Iterator[Way]:
    positions = model.positions
    if not isinstance(positions, RotaryPositions):
        return

    def way(name: str, changed: Positions, what: str) -> Way:
        return Way(name, model.model_copy(update={"positions": changed}), what)

    base, factor = positions.base, float(times)
    yield way("interpolation", RotaryPositions(base=base, scaling="interpolation", factor=factor),
              f"positions over {times}")  # fmt: skip
    yield way("larger base", RotaryPositions(base=base * times**2), f"base {base * times**2:,.0f}")
    yield way("NTK-aware", RotaryPositions(base=base, scaling="ntk", factor=factor), f"the slowest pair over {times}")
    yield way("truncated basis", RotaryPositions(base=base, scaling="truncated", trained=trained),
              f"pairs that turn less than once in {trained:,} positions do not turn")  # fmt: skip


def _by_attention(model: Model, trained: int, times: int) -> Iterator[Way]:
    if not isinstance(model.attention, FullAttention):
        return

    def way(name: str, attention: object, what: str) -> Way:
        return Way(name, model.model_copy(update={"attention": attention}), what)

    half = trained // 2
    yield way("local window", LocalAttention(window=trained), f"the last {trained:,} positions")
    yield way("Λ-shaped window", SinkAttention(sinks=SINKS, window=trained - SINKS),
              f"the first {SINKS} and the last {trained - SINKS:,} positions")  # fmt: skip
    if model.positions.name in ("rotary", "sinusoidal"):
        layer = model.layers // 2
        yield way("external memory", MemoryAttention(window=trained, layer=layer, neighbours=NEIGHBOURS),
                  f"the last {trained:,} positions and, in layer {layer}, the {NEIGHBOURS} best before")  # fmt: skip
    if model.positions.name in ("rotary", "sinusoidal", "alibi"):
        windows = 2 * times - 1
        yield way("parallel windows", ParallelWindows(window=half, count=windows),
                  f"{windows} windows of {half:,} side by side, seen by the last {half:,} positions")  # fmt: skip


def measure(
    recipe: Recipe,
    parameters: Parameters,
    store: TokenStore,
    times: int,
    sequences: int,
    say: Callable[[str], None],
) -> list[Curve]:
    """The losses of every way over up to `sequences` stretches of T · times held-out tokens, T the trained length.

    UserError where the store is shorter than one stretch.
    """
    length = recipe.model_length * times
    count = min(sequences, (store.header.tokens - 1) // length)
    if count < 1:
        there = f"{store.header.tokens:,} tokens"
        raise UserError(f"{store.path}: holds {there}, less than {recipe.model_length} · {times}")
    chosen = tuning.for_platform(jax.default_backend())
    windows = [store.stretch(i * length, (i + 1) * length + 1).astype(np.int32) for i in range(count)]
    curves = []
    for way in ways(recipe, times):
        say(f"{way.name}: {way.what}")
        arranged = layout.arrange(parameters, way.model, chosen)

        @jax.jit
        def losses(arranged: layout.Arranged, window: jax.Array, model: Model = way.model) -> jax.Array:
            states, _ = hidden_states(arranged, window[None, :-1], model, chosen)
            # A stretch of positions at a time: logits of all of them would outweigh everything else.
            parts = states[0].reshape(times, -1, states.shape[-1]), window[1:].reshape(times, -1)

            def part(states_targets: tuple[jax.Array, jax.Array]) -> jax.Array:
                states, targets = states_targets
                scores = jax.nn.log_softmax(logits(arranged.unembedding, states))
                return -jnp.take_along_axis(scores, targets[:, None], axis=-1)[:, 0]

            return jax.lax.map(part, parts).reshape(-1)

        of_each = [np.asarray(losses(arranged, window), np.float64) for window in windows]
        curves.append(Curve(way, np.mean(of_each, axis=0)))
    return curves
