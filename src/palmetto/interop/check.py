"""Compares an export, opened in its foreign runtime, with what Palmetto computes from the same weights."""

from collections.abc import Collection
from itertools import takewhile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.decoding.cached import DECODING
from palmetto.decoding.generate import generate
from palmetto.decoding.sampling import Sampling
from palmetto.interop import peer
from palmetto.interop.forms import Array
from palmetto.interop.source import Source
from palmetto.model.decoder import Forward, logits
from palmetto.model.layout import arrange
from palmetto.model.sequences import WHOLE, Sequences
from palmetto.model.weights import restack
from palmetto.recipe.objectives import has_prefix
from palmetto.tokens.store import TokenStore

WINDOWS, LENGTH, GREEDY = 4, 128, 24
"""The windows that are compared, the tokens of each at most, and the tokens that are generated after its first half."""


_HARD = ("", " ", "  a\n\n\tb ", "[eod] [surrogate] <unk> <0x41>", "\u2581\u2585\0é\u0301😀", "x" * 5000)
"""Texts that tokenizers read in different ways."""


class Checked(NamedTuple):
    """Holds what was compared."""

    logits: float
    """The largest difference."""
    largest: float
    """The largest logit, in absolute value."""
    allowed: float
    """The largest difference that is allowed."""
    greedy: bool
    ids: bool | None
    """None if the runtime has no tokenizer."""
    versions: str

    @property
    def near(self) -> bool:
        """Says whether the difference is allowed; one that is no number is not."""
        return self.logits <= self.allowed

    @property
    def holds(self) -> bool:
        return self.near and self.greedy and self.ids is not False


def question(source: Source, misread: str = "") -> peer.Question:
    """Returns the question: windows of the run's held-out text, or drawn tokens if it has none.

    Texts with a character of `misread` are left out.
    """
    vocabulary, length = source.vocabulary, min(LENGTH, source.recipe.tokens.sequence_length)
    if source.run.validation_store.exists():
        store = TokenStore.open(source.run.validation_store, vocabulary_digest=vocabulary.digest)
        windows = store.read(np.linspace(0, store.windows - 1, WINDOWS, dtype=np.int64))[:, :length]
    else:
        windows = np.random.default_rng(0).integers(0, vocabulary.size, (WINDOWS, length), np.int32)
    windows[:, 0] = vocabulary.beginning
    prompts = windows[:, : length // 2]
    texts = [vocabulary.decode(window).encode("utf-8", "replace").decode() for window in windows]
    prefix = length // 2 if has_prefix(source.recipe.training.objective) else 0
    texts = [text for text in (*texts, *_HARD) if not set(text) & set(misread)]
    tokens, size = min(GREEDY, length - length // 2), source.recipe.model_vocabulary
    return peer.Question(windows.tolist(), prompts.tolist(), tokens, texts, prefix, size)


def answer(source: Source, values: dict[str, Array], asked: peer.Question) -> peer.Answer:
    """Returns Palmetto's answer, computed in float32 from logical matrices by name."""
    model = source.recipe.model.model_copy(update={"activations": "float32"})
    stacked = restack({name: jnp.asarray(matrix, jnp.float32) for name, matrix in values.items()}, source.table)
    arranged = arrange(stacked, model, DECODING)

    @jax.jit
    def computed(tokens: jax.Array) -> jax.Array:
        sequences = Sequences(jnp.full(len(tokens), asked.prefix)) if asked.prefix else WHOLE
        states, _ = Forward(model, DECODING, rematerialize=None).states(arranged, tokens, sequences=sequences)
        return logits(arranged.unembedding, states)

    ends = source.vocabulary.ends
    greedy = [
        generate(
            arranged, np.array(prompt, np.int32), asked.tokens, model, ends, Sampling(), prefix=asked.prefix
        ).tolist()
        for prompt in asked.prompts
    ]
    front, behind = source.vocabulary.around
    ids = [[*front, *source.vocabulary.encode(text).tolist(), *behind] for text in asked.texts]
    return peer.Answer(np.asarray(computed(jnp.asarray(asked.windows, jnp.int32))), greedy, ids, "palmetto")


def compare(
    asked: peer.Question, ours: peer.Answer, theirs: peer.Answer, ends: Collection[int], bound: float
) -> Checked:
    """Returns how two answers differ. Greedy tokens count up to the first of `ends`."""
    computed = ours.logits
    if theirs.logits.ndim < computed.ndim:
        computed = np.asarray(jax.nn.log_softmax(computed[:, len(asked.prompts[0]) - 1]))
    difference = float(np.abs(computed - theirs.logits).max())
    ended = [list(takewhile(lambda token: token not in ends, tokens)) for tokens in theirs.greedy]
    largest = float(np.abs(computed).max())
    ids = None if theirs.ids is None else theirs.ids == ours.ids
    return Checked(difference, largest, bound * max(1.0, largest), ended == ours.greedy, ids, theirs.versions)
