"""Measures a model's loss on contexts longer than those of training, in each way that needs no training.

Runs that were trained further on longer sequences are measured beside them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.errors import UserError
from palmetto.model import layout, tuning
from palmetto.model.attentions.full import FullAttention
from palmetto.model.attentions.local import LocalAttention
from palmetto.model.attentions.memory import MemoryAttention
from palmetto.model.attentions.parallel_windows import ParallelWindows
from palmetto.model.attentions.sinks import SinkAttention
from palmetto.model.decoder import Forward, logits
from palmetto.model.positions.rotary import RotaryPositions
from palmetto.model.weights import Parameters
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model
from palmetto.recipe.objectives import CausalObjective
from palmetto.recipe.parts import Attention, Positions

Losses = npt.NDArray[np.float64]

SINKS = 4
"""The number of first positions that the Λ-shaped window keeps."""

NEIGHBOURS = 32
"""The number of positions that a query takes from the external memory."""


class Way(NamedTuple):
    """Describes a way to run a trained model on long contexts."""

    name: str
    model: Model
    what: str
    """The change, in words."""


class Text(NamedTuple):
    """Holds held-out text in tokens."""

    name: str
    tokens: int
    """The number of tokens."""
    stretch: Callable[[int, int], npt.NDArray[Any]]
    """Returns the tokens from one place up to another."""


class Tuned(NamedTuple):
    """Holds a run that was trained further, as for longer sequences."""

    name: str
    recipe: Recipe
    parameters: Parameters

    @property
    def way(self) -> "Way":
        """The way that the run computes; raises UserError as `ways` does."""
        _check(self.recipe)
        length, steps = self.recipe.model_length, self.recipe.training.steps
        return Way(self.name, self.recipe.model, f"trained further, {steps:,} steps on sequences of {length:,}")


class Curve(NamedTuple):
    """Holds the losses of one way."""

    way: Way
    losses: Losses
    """The mean cross-entropy in nats of predicting the token after each position, [length]."""


def ways(recipe: Recipe, times: int) -> list[Way]:
    """Returns the model as trained and with each applicable change of positions or attention, for T · times positions.

    T is the trained length. Raises UserError for positions of limited length, such as learned ones, and for objectives
    other than causal.
    """
    _check(recipe)
    model, trained = recipe.model, recipe.model_length
    return [
        Way("as trained", model, "nothing"),
        *_by_positions(model, trained, times),
        *_by_attention(model, trained, times),
    ]


def _check(recipe: Recipe) -> None:
    if recipe.model.positions.end is not None:
        name = recipe.model.positions.name
        raise UserError(f"model.positions.name={name}: no position beyond model.positions.length has a vector")
    if not isinstance(recipe.training.objective, CausalObjective):
        raise UserError(f"training.objective.name={recipe.training.objective.name}: expected causal, to read on and on")


def _by_positions(model: Model, trained: int, times: int) -> Iterator[Way]:
    positions = model.positions
    if not isinstance(positions, RotaryPositions):
        return

    def way(name: str, changed: Positions, what: str) -> Way:
        return Way(name, model.model_copy(update={"positions": changed}), what)

    base, factor = positions.base, float(times)
    interpolated = RotaryPositions(base=base, scaling="interpolation", factor=factor)
    yield way("interpolation", interpolated, f"positions over {times}")
    yield way("larger base", RotaryPositions(base=base * times**2), f"base {base * times**2:,.0f}")
    yield way("NTK-aware", RotaryPositions(base=base, scaling="ntk", factor=factor), f"the slowest pair over {times}")
    yield way(
        "truncated basis",
        RotaryPositions(base=base, scaling="truncated", trained=trained),
        f"pairs that turn less than once in {trained:,} positions do not turn",
    )


def _by_attention(model: Model, trained: int, times: int) -> Iterator[Way]:
    if not isinstance(model.attention, FullAttention):
        return

    def way(name: str, attention: Attention, what: str) -> Way:
        return Way(name, model.model_copy(update={"attention": attention}), what)

    half = trained // 2
    yield way("local window", LocalAttention(window=trained), f"the last {trained:,} positions")
    yield way(
        "Λ-shaped window",
        SinkAttention(sinks=SINKS, window=trained - SINKS),
        f"the first {SINKS} and the last {trained - SINKS:,} positions",
    )
    memory = MemoryAttention(window=trained, layer=model.layers // 2, neighbours=NEIGHBOURS)
    if memory.suits(model.positions):
        best = f"in layer {memory.layer}, the {NEIGHBOURS} best before"
        yield way("external memory", memory, f"the last {trained:,} positions and, {best}")
    windows = ParallelWindows(window=half, count=2 * times - 1)
    if windows.suits(model.positions):
        side_by_side = f"{windows.count} windows of {half:,} side by side"
        yield way("parallel windows", windows, f"{side_by_side}, seen by the last {half:,} positions")


def measure(
    recipe: Recipe,
    parameters: Parameters,
    text: Text,
    times: int,
    sequences: int,
    say: Callable[[str], None],
    tuned: Sequence[Tuned] = (),
) -> list[Curve]:
    """Returns the losses of every way and of `tuned`, averaged over up to `sequences` stretches of T · times tokens.

    T is the trained length of the recipe. `say` is called with the name of each way. Raises UserError if the text is
    shorter than one stretch.
    """
    length = recipe.model_length * times
    count = min(sequences, (text.tokens - 1) // length)
    if count < 1:
        raise UserError(f"{text.name}: holds {text.tokens:,} tokens, less than {recipe.model_length} · {times}")
    windows = [text.stretch(i * length, (i + 1) * length + 1).astype(np.int32) for i in range(count)]
    measured = [(way, parameters) for way in ways(recipe, times)] + [(each.way, each.parameters) for each in tuned]
    curves = []
    for way, of_way in measured:
        say(f"{way.name}: {way.what}")
        curves.append(Curve(way, _losses(way.model, of_way, windows, times)))
    return curves


def _losses(model: Model, parameters: Parameters, windows: list[npt.NDArray[np.int32]], times: int) -> Losses:
    """Returns the loss by position, float64 [T · times], the mean over windows of T · times + 1 tokens."""
    chosen = tuning.for_platform(jax.default_backend())
    arranged = layout.arrange(parameters, model, chosen)

    @jax.jit
    def losses(arranged: layout.Arranged, window: jax.Array) -> jax.Array:
        states, _ = Forward(model, chosen).states(arranged, window[None, :-1])
        # T positions at a time: the logits of all positions would take most of the memory.
        parts = states[0].reshape(times, -1, states.shape[-1]), window[1:].reshape(times, -1)

        def part(states_targets: tuple[jax.Array, jax.Array]) -> jax.Array:
            states, targets = states_targets
            scores = jax.nn.log_softmax(logits(arranged.unembedding, states))
            return -jnp.take_along_axis(scores, targets[:, None], axis=-1)[:, 0]

        return jax.lax.map(part, parts).reshape(-1)

    of_each = [np.asarray(losses(arranged, window), np.float64) for window in windows]
    return np.asarray(np.mean(of_each, axis=0))
