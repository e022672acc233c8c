"""Low-rank adapters (LoRA, arXiv 2106.09685): a weight W becomes W + α/r · A·B.

Each logical matrix has its own A and B. A is drawn like a kernel and B begins at zero, so that the model begins as it
was. An adapter's factors are rows of the table of weights, and all else, their state, checkpoints and digests, follows
from the rows.
"""

import fnmatch
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from palmetto.errors import UserError, nearest
from palmetto.model.sums import rounded
from palmetto.model.weights import Parameters, Table, Weight
from palmetto.recipe.model import Lora


def matching(patterns: Sequence[str], table: Table, key: str) -> list[str]:
    """Returns the names of the weights that match one of the patterns, in the order of the table.

    Raises UserError, which names `key`, for a pattern that no weight matches.
    """
    for pattern in patterns:
        if not fnmatch.filter(table, pattern):
            raise UserError(f"{key}={pattern}: matches none of {', '.join(table)}{nearest(pattern, table)}")
    return [name for name in table if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def with_adapters(table: Mapping[str, Weight], lora: Lora | None) -> dict[str, Weight]:
    """Returns a table with the rows of the adapters; raises UserError if one would be of a weight that is no matrix."""
    if lora is None:
        return dict(table)
    matrices = {name: weight for name, weight in table.items() if len(weight.shape) == weight.stack + 2}
    adapted = matching(lora.weights, matrices, "model.lora.weights")
    return {**table, **{name: row for of in adapted for name, row in _factors(of, table[of], lora.rank).items()}}


def without_adapters(table: Table) -> dict[str, Weight]:
    """Returns the rows of the weights alone; one with an adapter is trained through it."""
    adapted = {row.adapts for row in table.values() if not row.frozen}
    return {
        name: row._replace(frozen=row.frozen and name not in adapted)
        for name, row in table.items()
        if row.adapts is None
    }


def _factors(name: str, of: Weight, rank: int) -> dict[str, Weight]:
    *stack, rows, columns = of.shape
    *stacked, along, across = of.axes
    a = Weight((*stack, rows, rank), (*stacked, along, "rank"), 1 / math.sqrt(rows), of.layers, adapts=name)
    b = Weight((*stack, rank, columns), (*stacked, "rank", across), 0.0, of.layers, adapts=name)
    return dict(zip(factors_of(name), (a, b), strict=True))


def factors_of(name: str) -> tuple[str, str]:
    """Returns the names of the factors of a weight's adapter, whether it has one or not."""
    return f"{name}_lora_a", f"{name}_lora_b"


def merged(parameters: Parameters, table: Table, lora: Lora | None) -> Parameters:
    """Returns the weights of a table, which has no adapters, each with its adapter's product added if it has one.

    It is differentiable.
    """
    if lora is None:
        return parameters
    scale = (lora.alpha or lora.rank) / lora.rank

    def whole(name: str) -> jax.Array:
        a, b = (parameters.get(factor) for factor in factors_of(name))
        if a is None or b is None:
            return parameters[name]
        return parameters[name] + rounded(scale * jnp.matmul(a, b, preferred_element_type=jnp.float32))

    return {name: whole(name) for name in table}
