"""A trained model taken from a run directory, ready to continue text. `stages.enter` must have been called."""

import jax
import numpy as np

from palmetto.decoding.generate import generate
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.model.layout import ACCELERATOR, arrange
from palmetto.run_directory import RunDirectory
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.step import State, initial_state, stacked_names


def restore(run: RunDirectory, step: int | None = None) -> tuple[State, int, Checkpoints]:
    """The state of a checkpoint (by default the newest) and its step, every file checked against its digest.

    UserError if there is none, naming those there are; CheckpointDamaged, a UserError, if a byte has changed.
    """
    recipe = run.recipe
    checkpoints = Checkpoints(run.checkpoints, stacked_names(recipe))
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{run.checkpoints}: no complete checkpoint yet; `palmetto train` writes them")
    if step is None:
        step = steps[-1]
    if step not in steps:
        raise UserError(f"--step {step}: no such checkpoint; there are {', '.join(map(str, steps))}")
    checkpoints.manifest(step)
    return checkpoints.restore(step, like=jax.eval_shape(lambda: initial_state(recipe))), step, checkpoints


class TrainedModel:
    """The newest checkpoint of a run with its vocabulary."""

    def __init__(self, run: RunDirectory) -> None:
        self.model = run.recipe.model
        self.vocabulary = Vocabulary.load(run.vocabulary)
        state, self.step, _ = restore(run)
        # A token at a time, the shape that suits accelerators suits a CPU as well.
        self._arranged = arrange(state.parameters, self.model, ACCELERATOR)

    def go_on(self, prompt: str, tokens: int, sampling: Sampling, seed: int = 0) -> str:
        """Up to `tokens` tokens behind the beginning of a document, to the document's end if it comes."""
        ids = np.concatenate([[self.vocabulary.eod], self.vocabulary.encode(prompt)]).astype(np.int32)
        chosen = generate(self._arranged, ids, tokens, self.model, self.vocabulary.eod, sampling, seed)
        return self.vocabulary.decode(chosen)


def samples(trained: TrainedModel, run: RunDirectory, count: int = 4, tokens: int = 96) -> str:
    """Continuations of the first tokens of held-out windows, each greedy and at temperature 0.8, as text to read."""
    store = TokenStore.open(run.validation_store, vocabulary_digest=trained.vocabulary.digest)
    windows = store.read(np.linspace(0, store.windows - 1, count, dtype=np.int64))
    parts = [f"Step {trained.step} of {run.recipe.name}: continuations of held-out text."]
    for window in windows:
        prompt = trained.vocabulary.decode([token for token in window[:24] if token != trained.vocabulary.eod])
        parts.append(f"───── prompt\n{prompt}")
        for name, sampling in (("greedy", Sampling()), ("temperature 0.8, top-k 40", Sampling(0.8, top_k=40))):
            parts.append(f"───── {name}\n{trained.go_on(prompt, tokens, sampling)}")
    return "\n".join(parts) + "\n"
