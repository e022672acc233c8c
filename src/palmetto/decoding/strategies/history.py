"""Tells strategies how often tokens have occurred."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.strategies.strategy import Context, Sizes


def histories(rows: Mapping[int, Context], sizes: Sizes, *, generated: bool) -> npt.NDArray[np.int32]:
    """Returns the tokens of each row [R, positions], those generated alone or with the prompt's; −1 for none."""
    tokens = np.full((sizes.rows, sizes.positions), -1, np.int32)
    for row, context in rows.items():
        own = context.tokens[context.prompt if generated else 0 :]
        tokens[row, : len(own)] = own
    return tokens


def occurrences(tokens: jax.Array, vocabulary_size: int) -> jax.Array:
    """Returns how often each token occurs in each row, int32 [R, V]; tokens [R, n] are −1 for none."""
    known = jnp.where(tokens < 0, vocabulary_size, tokens)  # a negative index would count from the end
    counts = jnp.zeros((len(tokens), vocabulary_size), jnp.int32)
    return counts.at[jnp.arange(len(tokens))[:, None], known].add(1, mode="drop")
