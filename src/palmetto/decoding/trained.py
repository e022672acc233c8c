"""Loads a trained model from a run directory to continue text; the environment must have been entered before."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.cached import DECODING, streams
from palmetto.decoding.drafts import Draft
from palmetto.decoding.engine import Engine, Limits
from palmetto.decoding.generate import generate
from palmetto.decoding.runner import choose_tuning
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.model.held import hold
from palmetto.model.layout import Arranged, arrange
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe.model import Weights
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.marks import given, unmark
from palmetto.tokens.prompts import Prompts
from palmetto.tokens.store import TokenStore
from palmetto.training import live
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.origin import check_recipe, load_vocabulary
from palmetto.training.step.state import State, shapes

Found = TypeVar("Found")


def restore(
    run: RunDirectory, step: int | None = None, sharding: Sharding | None = None
) -> tuple[State, int, Checkpoints]:
    """Returns the state of a checkpoint, by default the newest, its step, and the run's checkpoints.

    Every file is checked against its digest. The state is on one device, or on the devices of `sharding`. If a running
    training deletes the checkpoint meanwhile, the choice is made again.

    Raises UserError if there is no such checkpoint, naming those that exist, or if recipe.yaml has changed since
    training; raises CheckpointDamaged, a UserError, if a file has changed.
    """
    recipe = run.recipe

    def look(checkpoints: Checkpoints, chosen: int) -> tuple[State, int, Checkpoints]:
        checkpoints.manifest(chosen)
        return checkpoints.restore(chosen, shapes(recipe, sharding)), chosen, checkpoints

    return read(run, step, look)


def read(run: RunDirectory, step: int | None, look: Callable[[Checkpoints, int], Found]) -> Found:
    """Returns the result of `look` at the run's checkpoints and the step of one, by default of the newest.

    It looks again, at what is then the newest, if a running training deletes the checkpoint meanwhile. Raises UserError
    as `restore` does, and what `look` raises.
    """
    checkpoints = Checkpoints(run.checkpoints, parameter_table(run.recipe))
    check_recipe(run, run.newest_manifest)
    while True:
        steps = checkpoints.steps()
        if not steps:
            raise UserError(f"{run.checkpoints}: no complete checkpoint yet; `palmetto train` writes them")
        chosen = steps[-1] if step is None else step
        if chosen not in steps:
            raise UserError(f"--step {chosen}: no such checkpoint; there are {', '.join(map(str, steps))}")
        found = live.read(checkpoints, chosen, partial(look, checkpoints, chosen))
        if found is not None:
            return found


def held(parameters: Parameters, recipe: Recipe, weights: Weights | None, sharding: Sharding | None = None) -> Arranged:
    """Returns parameters arranged for decoding and held in a type, by default that of the activations."""
    arranged = arrange(parameters, recipe.model, DECODING, recipe.mesh)
    return hold(arranged, recipe.model, weights, choose_tuning(sharding), recipe.mesh)


class TrainedModel:
    """Holds a checkpoint of a run with its vocabulary, ready to generate text."""

    def __init__(
        self,
        run: RunDirectory,
        overrides: Sequence[str] = (),
        step: int | None = None,
        weights: Weights | None = None,
        base: Arranged | None = None,
    ) -> None:
        """Loads a checkpoint of a run, by default the newest.

        `overrides` (key.path=value) may change model.positions, model.attention and mesh.model. weights: the type that
        weights are held in, by default that of the activations. Raises UserError if the parameters would not fit. base:
        the weights of another model, as of the one that this one has adapters of; what has the same bits shares their
        memory.
        """
        self.recipe = _changed(run, overrides)
        self.model = self.recipe.model
        self.vocabulary = load_vocabulary(run)
        self._sharding = Sharding(self.recipe)
        state, self.step, self._checkpoints = restore(run, step, self._sharding)
        arranged = held(state.parameters, self.recipe, weights, self._sharding)
        self.arranged = arranged if base is None else _shared(arranged, base)

    def engine(self, limits: Limits, draft: Draft | None = None) -> Engine:
        """Returns an engine of this model, which generates tokens of the vocabulary."""
        size = self.recipe.tokens.vocabulary_size
        return Engine(self.arranged, self.model, limits, vocabulary_size=size, sharding=self._sharding, draft=draft)

    def go_on(
        self,
        prompt: str,
        tokens: int,
        sampling: Sampling,
        seed: int = 0,
        say: Callable[[str], None] = lambda text: None,
    ) -> str:
        """Returns text of up to `tokens` tokens that continues a document's beginning; it stops where an answer ends.

        `say` is called with a notice if the sequence is longer than those of training.
        """
        ids, prefix = self.prompt(prompt)
        self.warn(len(ids), tokens, say)
        chosen = generate(
            self.arranged,
            ids,
            tokens,
            self.model,
            self.vocabulary.ends,
            sampling,
            seed,
            prefix=prefix,
            vocabulary_size=self.recipe.tokens.vocabulary_size,
            sharding=self._sharding,
        )
        return self.vocabulary.decode(chosen)

    @property
    def digest(self) -> str:
        """The digest of the parameters, as the checkpoint's manifest has it."""
        return self._checkpoints.sealed(self.step).parameters

    def prompt(self, text: str) -> tuple[npt.NDArray[np.int32], int]:
        """Returns the prompt (int32 [P]) that begins a document with a text, and the length of its prefix."""
        return Prompts.of(self.recipe, self.vocabulary).beginning(text)

    def warn(self, prompt: int, tokens: int, say: Callable[[str], None]) -> None:
        """Calls `say` with a notice if a prompt and its continuation are longer than what the model was trained on."""
        trained = self.recipe.model_length
        if prompt + tokens > trained and not streams(self.model):  # which sees no farther than its window
            say(
                f"{prompt:,} tokens of prompt and {tokens:,} more: beyond the {trained:,} that the model was trained "
                "on; `palmetto long-context` shows how well it does there"
            )


def _shared(arranged: Arranged, base: Arranged) -> Arranged:
    """Returns weights with the arrays of `base` in place of those that have the same bits there.

    So they never change: the base may be another checkpoint by now, or hold its weights in another type or order.
    """
    theirs = dict(jax.tree_util.tree_flatten_with_path(base)[0])

    def share(path: tuple[Any, ...], own: jax.Array) -> jax.Array:
        same = path in theirs and _same(own, theirs[path])
        return theirs[path] if same else own

    shared: Arranged = jax.tree_util.tree_map_with_path(share, arranged)
    return shared


def _same(one: jax.Array, other: jax.Array) -> bool:
    """Returns whether two arrays have the same bits in the same places."""
    alike = one.shape == other.shape and one.dtype == other.dtype and one.sharding == other.sharding
    return alike and bool(_same_bits(one, other))


@jax.jit
def _same_bits(one: jax.Array, other: jax.Array) -> jax.Array:
    first, second = (jax.lax.bitcast_convert_type(array, jnp.uint8) for array in (one, other))
    return jnp.array_equal(first, second)


def _changed(run: RunDirectory, overrides: Sequence[str]) -> Recipe:
    recipe, changed = run.recipe, run.recipe_to_read(overrides)
    for difference in changed.differences(recipe):
        if not difference.startswith(("model.positions", "model.attention")):
            raise UserError(
                f"{difference}: a trained model can be run with other model.positions or model.attention, not with "
                "other values of what it was trained with"
            )
    if parameter_table(changed) != parameter_table(recipe):
        raise UserError(f"{', '.join(overrides)}: needs other parameters than the model was trained with")
    return changed


_SAMPLED = 24
"""The number of tokens of a document that a sample continues."""


def samples(trained: TrainedModel, run: RunDirectory, count: int = 4, tokens: int = 96) -> str:
    """Returns sample text: held-out windows' first tokens, continued greedily and at temperature 0.8.

    Of a window of examples, the prompt is the first example's tokens before the first predicted one.
    """
    store = TokenStore.open(run.validation_store, vocabulary_digest=trained.vocabulary.digest)
    windows = store.read_stored(np.linspace(0, store.windows - 1, count, dtype=np.int64))
    parts = [f"Step {trained.step} of {run.recipe.name}: continuations of held-out text."]
    for window in windows:
        beginning = given(unmark(window)) if store.header.marked else window[:_SAMPLED]
        prompt = trained.vocabulary.decode([token for token in beginning if token != trained.vocabulary.eod])
        parts.append(f"───── prompt\n{prompt}")
        for name, sampling in (("greedy", Sampling()), ("temperature 0.8, top-k 40", Sampling(0.8, top_k=40))):
            parts.append(f"───── {name}\n{trained.go_on(prompt, tokens, sampling)}")
    return "\n".join(parts) + "\n"
