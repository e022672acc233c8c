"""Continues one prompt by an engine of its own."""

from collections.abc import Collection

import jax
import numpy as np
import numpy.typing as npt

from palmetto.decoding.cached import rows_are_their_own
from palmetto.decoding.engine import Engine, Limits
from palmetto.decoding.request import Request
from palmetto.decoding.runner import choose_tuning
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.model.layout import Arranged
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model

ROWS = 8
"""The rows of a step if all have as many. So few cost a large model hardly more than one, since the step waits for the
weights."""

MOST_ROWS = 64
"""The most rows of a step if their number follows what there is to do: a prompt's tokens, then single ones."""

SHORTEST = 256
"""The least length for which an engine is made. Others are its doubles, so that a few programs serve all lengths."""


def generate(
    arranged: Arranged,
    prompt: npt.NDArray[np.int32],
    count: int,
    model: Model,
    ends: Collection[int],
    sampling: Sampling,
    seed: int = 0,
    *,
    prefix: int = 0,
    vocabulary_size: int | None = None,
    sharding: Sharding | None = None,
) -> npt.NDArray[np.int32]:
    """Returns up to `count` tokens that continue the int32 prompt [P], P ≥ 1; they stop before the first of `ends`.

    prefix: the number of first positions of the prompt that see each other. vocabulary_size: only tokens below it are
    chosen. sharding: the sharding of `arranged`, unless it is on one device.
    Positions may exceed the trained sequence length. Raises UserError if learned positions are too few, or if memory is
    exhausted.
    """
    assert len(prompt) > 0, "there is nothing to continue; begin with [eod]"
    check_room(len(prompt), count, model)
    longest = max(SHORTEST, 1 << (len(prompt) + count - 1).bit_length())
    rows = MOST_ROWS if rows_are_their_own(model, choose_tuning(sharding)) else ROWS
    limits = Limits(rows=rows, sequences=1, longest=longest, memory=2**62)
    request = Request(tuple(prompt.tolist()), count, sampling, seed, stop=frozenset(ends), prefix=prefix)
    try:
        engine = Engine(
            arranged, model, limits, vocabulary_size=vocabulary_size or arranged.embedding.shape[0], sharding=sharding
        )
        [[result]] = engine.run([request])
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise too_large(len(prompt), count) from None
    tokens = [token.id for token in result.tokens]
    return np.array(tokens[:-1] if tokens and tokens[-1] in ends else tokens, np.int32)


def check_room(prompt: int, count: int, model: Model) -> None:
    """Raises UserError if positions are too few for a prompt of this many tokens and `count` more."""
    if prompt + count >= 2**31:
        most = 2**31 - 1 - prompt
        raise UserError(
            f"--tokens {count}: after a prompt of {prompt} tokens, at most {most} can be counted in 32 bits"
        )
    if (end_of_positions := model.positions.end) is not None and prompt + count > end_of_positions:
        raise UserError(
            f"--tokens {count}: after a prompt of {prompt} tokens, model.positions.length={end_of_positions} "
            f"leaves at most {max(0, end_of_positions - prompt)}"
        )


def too_large(prompt: int, count: int) -> UserError:
    """Returns the error of a prompt of this many tokens and `count` more for which memory does not suffice."""
    return UserError(
        f"--tokens {count}: after a prompt of {prompt} tokens, this takes more memory than there is; fewer tokens or "
        "a shorter prompt would do"
    )
