"""ALiBi: a penalty on scores that grows linearly with the distance (arXiv 2108.12409)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from palmetto.recipe.parts import Array, Positions


class AlibiPositions(Positions):
    """Subtracts a penalty from scores that grows linearly with the distance, with a fixed slope for each head.

    Source: arXiv 2108.12409.
    """

    name: Literal["alibi"] = "alibi"

    add_to_scores: ClassVar[bool] = True
    without_end: ClassVar[bool] = True

    def score(
        self, q: Array, queries: Array, keys: Array, learned: Mapping[str, Array], heads: int, farthest: int | None
    ) -> Array:
        import jax.numpy as jnp

        from palmetto.model.scores import own_heads

        groups = q.shape[1], q.shape[3]
        distances = jnp.abs(queries - keys)
        penalty = own_heads(jnp.asarray(slopes(heads)), groups[0] * groups[1]).reshape(groups)
        return -penalty[:, None, :, None] * jnp.minimum(distances, farthest or distances)


def slopes(heads: int) -> Array:
    """Returns ALiBi's slopes, float32 [H]: 2^(−8/H), 2^(−16/H), … (arXiv 2108.12409, section 3).

    If H is not a power of two, they are the slopes of the next lower power n, then every other slope of 2n.
    """
    import numpy as np

    whole = 1 << (heads.bit_length() - 1)

    def geometric(n: int) -> Array:
        return 2.0 ** (-8.0 / n * np.arange(1, n + 1))

    return np.concatenate([geometric(whole), geometric(2 * whole)[::2][: heads - whole]]).astype(np.float32)
