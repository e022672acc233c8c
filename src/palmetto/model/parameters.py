"""The parameters of a model: one table of shapes, logical axes and initializers, from which all else follows.

A matrix that every block has is stored for all layers at once, with a leading axis "layers"; its logical matrices
(one a layer) are what the optimizer scales, checkpoints name and digests cover, however memory holds them.
"""

import hashlib
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.recipe import Model

Parameters = dict[str, jax.Array]
"""Name → float32 array, shaped as `specifications` says."""


class Specification(NamedTuple):
    """Shape, logical axes (for sharding) and initializer of one entry of the table."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    deviation: float | None
    """Standard deviation of a normal initializer, or None for ones."""

    @property
    def stacked(self) -> bool:
        """Whether the leading axis counts layers."""
        return self.axes[0] == "layers"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def specifications(model: Model, vocabulary_size: int) -> dict[str, Specification]:
    """PaLM's parameters (section 2): kernels ~ N(0, 1/√n_in), embeddings ~ N(0, 1), norm scales 1, no biases.

    The embedding [V, D] is shared by input and output. q [L, D, H·Q] holds the H heads side by side; k and v
    [L, D, Q] are the one head that all queries share.
    """
    L, D, F, V = model.layers, model.d_model, model.feedforward_size, vocabulary_size
    H, Q = model.heads, model.query_size

    def kernel(inputs: int, outputs: int, axes: tuple[str, str]) -> Specification:
        return Specification((L, inputs, outputs), ("layers", *axes), 1 / math.sqrt(inputs))

    return {
        "embedding": Specification((V, D), ("vocabulary", "width"), 1.0),
        "norm": Specification((L, D), ("layers", "width"), None),
        "q": kernel(D, H * Q, ("width", "heads")),
        "k": kernel(D, Q, ("width", "head")),
        "v": kernel(D, Q, ("width", "head")),
        "o": kernel(H * Q, D, ("heads", "width")),
        "gate": kernel(D, F, ("width", "feedforward")),
        "up": kernel(D, F, ("width", "feedforward")),
        "down": kernel(F, D, ("feedforward", "width")),
        "final_norm": Specification((D,), ("width",), None),
    }


def count(model: Model, vocabulary_size: int) -> int:
    """The number of parameters, every scale and matrix counted."""
    return sum(specification.size for specification in specifications(model, vocabulary_size).values())


def initialize(model: Model, vocabulary_size: int, seed: int) -> Parameters:
    """Draws float32 parameters; each logical matrix from a key of its own (seed, name, layer)."""
    root = jax.random.key(seed)

    def draw(name: str, specification: Specification) -> jax.Array:
        if specification.deviation is None:
            return jnp.ones(specification.shape, jnp.float32)
        key = jax.random.fold_in(root, int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
        if not specification.stacked:
            return specification.deviation * jax.random.normal(key, specification.shape, jnp.float32)
        layers, *matrix = specification.shape
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(layers))
        draw_layer = jax.vmap(lambda k: jax.random.normal(k, tuple(matrix), jnp.float32))
        return specification.deviation * draw_layer(keys)

    table = specifications(model, vocabulary_size)
    return jax.jit(lambda: {name: draw(name, specification) for name, specification in table.items()})()


def unstack(parameters: Parameters, stacked: frozenset[str]) -> dict[str, jax.Array]:
    """The logical matrices under their names: `embedding`, `final_norm`, and `q.000`, `q.001` … for each layer.

    Fresh arrays: none shares memory with `parameters`, which may then be donated.
    """
    matrices: dict[str, jax.Array] = {}
    for name, array in parameters.items():
        if name in stacked:
            matrices |= {f"{name}.{layer:03d}": array[layer] for layer in range(array.shape[0])}
        else:
            matrices[name] = jnp.copy(array)
    return matrices


def restack(matrices: dict[str, jax.Array]) -> Parameters:
    """The inverse of `unstack`."""
    layers: dict[str, dict[int, jax.Array]] = {}
    parameters: Parameters = {}
    for name, matrix in matrices.items():
        stem, dot, layer = name.partition(".")
        if dot:
            layers.setdefault(stem, {})[int(layer)] = matrix
        else:
            parameters[name] = matrix
    return parameters | {name: jnp.stack([of[layer] for layer in sorted(of)]) for name, of in layers.items()}
