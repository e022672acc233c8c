"""Transformer-XL's relative positions: scores have a term for the distance (arXiv 1901.02860, section 3.3)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from palmetto.recipe.parts import Array, Positions, Sizes
from palmetto.recipe.section import check_even


class TransformerXLPositions(Positions):
    """Computes scores as (q + u)·k + (q + w)·r, with r from sinusoids of the distance.

    Source: arXiv 1901.02860, section 3.3.
    """

    name: Literal["transformer_xl"] = "transformer_xl"

    add_to_scores: ClassVar[bool] = True
    in_a_row: ClassVar[bool] = True
    axes_of_heads: ClassVar[Mapping[str, int]] = {"u": 0, "w": 0, "r": 1}

    def check(self, model: Sizes) -> None:
        check_even("model.d_model", model.d_model, "sinusoids come in pairs of sine and cosine")

    def of_layers(self, model: Sizes) -> Mapping[str, Any]:
        from palmetto.model.weights import Weight

        D, H, Q = model.d_model, model.heads, model.query_size
        L, layers = model.layers, tuple(range(model.layers))
        # Queries are divided by √Q, and so must be the biases that are added to them.
        bias = Weight((L, H, Q), ("layers", "heads", "head"), 0.0, layers, factor=1 / math.sqrt(Q))
        r = Weight((L, D, H * Q), ("layers", "width", "heads"), 1 / math.sqrt(D), layers)
        return {"r": r, "u": bias, "w": bias}

    def for_scores(self, layer: Mapping[str, Array], model: Sizes, length: int) -> dict[str, Array]:
        """Returns u and w [H, Q], and r [2S − 1, H, Q], the vectors of distances −(S − 1) to S − 1, S = `length`."""
        import jax.numpy as jnp

        from palmetto.model.positions.sinusoidal import sinusoids

        distances = sinusoids(jnp.arange(1 - length, length), model.d_model)
        r = (distances @ layer["r"]).reshape(2 * length - 1, model.heads, model.query_size)
        return {"u": layer["u"], "w": layer["w"], "r": r}

    def query(self, q: Array, learned: Mapping[str, Array]) -> Array:
        return q + _by_group(learned["u"], q).astype(q.dtype)

    def score(
        self, q: Array, queries: Array, keys: Array, learned: Mapping[str, Array], heads: int, farthest: int | None
    ) -> Array:
        import jax.numpy as jnp

        from palmetto.model.scores import by_distance

        def table(distances: Array) -> Array:
            reach = learned["r"].shape[0] // 2
            r = learned["r"][jnp.clip(distances, -reach, reach) + reach].reshape(-1, q.shape[1], q.shape[3], q.shape[4])
            biased = (q + _by_group(learned["w"], q).astype(q.dtype)).astype(jnp.float32)
            return jnp.einsum("bkrgq,dkgq->bkgrd", biased, r)

        return by_distance(table, queries, keys, farthest)


def _by_group(heads: Array, q: Array) -> Array:
    """Returns an array [H, Q] reshaped to broadcast against q [B, K, rows, G, Q]."""
    return heads.reshape(q.shape[1], 1, q.shape[3], q.shape[4])
