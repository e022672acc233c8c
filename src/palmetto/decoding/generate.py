"""Continues one prompt by an engine of its own."""

import jax
import numpy as np
import numpy.typing as npt

from palmetto.decoding.engine import Engine, Limits
from palmetto.decoding.request import Request
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.model.layout import Arranged
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model

ROWS = 8
"""The rows of a step. So few cost a large model hardly more than one, since the step waits for the weights."""

SHORTEST = 256
"""The least length for which an engine is made. Others are its doubles, so that a few programs serve all lengths."""


def generate(
    arranged: Arranged,
    prompt: npt.NDArray[np.int32],
    count: int,
    model: Model,
    end: int,
    sampling: Sampling,
    seed: int = 0,
    *,
    prefix: int = 0,
    vocabulary_size: int | None = None,
    sharding: Sharding | None = None,
) -> npt.NDArray[np.int32]:
    """Returns up to `count` tokens that continue the int32 prompt [P], P ≥ 1; they stop before the first token `end`.

    prefix: the number of first positions of the prompt that see each other. vocabulary_size: only tokens below it are
    chosen. sharding: the sharding of `arranged`, unless it is on one device.
    Positions may exceed the trained sequence length. Raises UserError if learned positions are too few, or if memory is
    exhausted.
    """
    assert len(prompt) > 0, "there is nothing to continue; begin with [eod]"
    if len(prompt) + count >= 2**31:
        most = 2**31 - 1 - len(prompt)
        raise UserError(
            f"--tokens {count}: behind a prompt of {len(prompt)} tokens, at most {most} can be counted in 32 bits"
        )
    if (end_of_positions := model.positions.end) is not None and len(prompt) + count > end_of_positions:
        raise UserError(
            f"--tokens {count}: behind a prompt of {len(prompt)} tokens, model.positions.length={end_of_positions} "
            f"leaves at most {max(0, end_of_positions - len(prompt))}"
        )
    longest = max(SHORTEST, 1 << (len(prompt) + count - 1).bit_length())
    limits = Limits(rows=ROWS, sequences=1, longest=longest, memory=2**62)
    request = Request(tuple(prompt.tolist()), count, sampling, seed, stop=frozenset({end}), prefix=prefix)
    try:
        engine = Engine(
            arranged, model, limits, vocabulary_size=vocabulary_size or len(arranged.embedding), sharding=sharding
        )
        [[result]] = engine.run([request])
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"--tokens {count}: behind a prompt of {len(prompt)} tokens, this takes more memory than there is; fewer "
            "tokens or a shorter prompt would do"
        ) from None
    tokens = [token.id for token in result.tokens]
    return np.array(tokens[:-1] if tokens and tokens[-1] == end else tokens, np.int32)
