"""The parameters of a model: one table of shapes, logical axes and initializers, from which all else follows.

A matrix that several layers have is stored for all of them at once, with a leading axis "layers" (and, for experts, a
second, "experts"); its logical matrices, one a layer or expert, are what the optimizer scales, checkpoints name and
digests cover, however memory holds them.
"""

import hashlib
import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.recipe.model import GATED, Model

Parameters = dict[str, jax.Array]
"""Name → float32 array, shaped as `specifications` says."""


class Specification(NamedTuple):
    """Shape, logical axes (for sharding), initializer and layers of one entry of the table."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    deviation: float | None
    """Standard deviation of a normal initializer, 0 for zeros, or None for ones."""
    layers: tuple[int, ...] = ()
    """The layers that have it, in the order of the leading axis; empty where it belongs to none."""

    @property
    def stack(self) -> int:
        """The number of leading axes that count logical matrices: 0, 1 (layers) or 2 (layers and experts)."""
        return sum(axis in ("layers", "experts") for axis in self.axes[:2])

    @property
    def size(self) -> int:
        return math.prod(self.shape)


Table = Mapping[str, Specification]


def specifications(model: Model, vocabulary_size: int) -> dict[str, Specification]:
    """Every parameter of a model: kernels ~ N(0, 1/√n_in), embeddings ~ N(0, 1), norm scales 1, biases 0.

    Kernels are [layers, n_in, n_out]; q holds its H heads side by side, k and v their K heads. DeepNorm's β multiplies
    the deviations of v, o and the feed-forward (arXiv 2203.00555, figure 2, decoder).
    """
    D, V = model.d_model, vocabulary_size
    gain = (8 * model.layers) ** -0.25 if model.norm_position == "deep" else 1.0
    table = {"embedding": Specification((V, D), ("vocabulary", "features"), 1.0)}
    table |= model.positions.of_model(model)
    if model.embedding_norm:
        table |= _norm("embedding_norm", model)
    table |= _layer_norms(model) | _attention(model, gain) | _feedforward(model, gain) | _experts(model, gain)
    if model.norm_position in ("pre", "sandwich"):
        table |= _norm("final_norm", model)
    if not model.tied_embedding:
        table["output"] = Specification((D, V), ("features", "vocabulary"), 1 / math.sqrt(D))
    return table


def _norm(name: str, model: Model, layers: tuple[int, ...] = ()) -> dict[str, Specification]:
    stack = len(layers)
    shape, axes = ((stack, model.d_model), ("layers", "width")) if stack else ((model.d_model,), ("width",))
    norm = {name: Specification(shape, axes, None, layers)}
    return norm | {f"{name}_bias": Specification(shape, axes, 0.0, layers)} if model.norm_bias else norm


def _layer_norms(model: Model) -> dict[str, Specification]:
    """`norm` stands before (or, with post and deep, behind) attention and is what a parallel block shares."""
    names = ["norm"]
    if model.block == "serial":
        names.append("feedforward_norm")
    if model.norm_position == "sandwich":
        names += ["norm_after", "feedforward_norm_after"]
    table: dict[str, Specification] = {}
    for name in names:
        table |= _norm(name, model, tuple(range(model.layers)))
    return table


def _kernel(
    layers: tuple[int, ...], inputs: tuple[int, str], outputs: tuple[int, str], gain: float = 1.0
) -> Specification:
    shape = (len(layers), inputs[0], outputs[0])
    return Specification(shape, ("layers", inputs[1], outputs[1]), gain / math.sqrt(inputs[0]), layers)


def _biases(table: dict[str, Specification]) -> dict[str, Specification]:
    """A bias for each kernel of a table, over the kernel's outputs."""
    return {
        f"{name}_bias": Specification((of.shape[0], of.shape[2]), (of.axes[0], of.axes[2]), 0.0, of.layers)
        for name, of in table.items()
    }


def _attention(model: Model, gain: float) -> dict[str, Specification]:
    layers, L = tuple(range(model.layers)), model.layers
    H, K, Q = model.heads, model.key_value_heads, model.query_size
    width, heads, shared = (model.d_model, "width"), (H * Q, "heads"), (K * Q, "key_value_heads")
    table = {
        "q": _kernel(layers, width, heads),
        "k": _kernel(layers, width, shared),
        "v": _kernel(layers, width, shared, gain),
        "o": _kernel(layers, heads, width, gain),
    }
    if model.biases:
        table |= _biases(table)
    if model.qk_norm:
        table |= {name: Specification((L, Q), ("layers", "head"), None, layers) for name in ("q_norm", "k_norm")}
    return table | model.positions.of_layers(model)


def _feedforward(model: Model, gain: float) -> dict[str, Specification]:
    layers = tuple(layer for layer in range(model.layers) if not model.has_experts(layer))
    if not layers:
        return {}
    width, inner = (model.d_model, "width"), (model.feedforward_size, "feedforward")
    table = {"gate": _kernel(layers, width, inner, gain)} if model.feedforward in GATED else {}
    table |= {"up": _kernel(layers, width, inner, gain), "down": _kernel(layers, inner, width, gain)}
    return table | _biases(table) if model.biases else table


def _experts(model: Model, gain: float) -> dict[str, Specification]:
    layers = tuple(filter(model.has_experts, range(model.layers)))
    if model.experts is None or not layers:
        return {}
    E, D, F = model.experts.count, model.d_model, model.expert_size

    def kernels(inputs: tuple[int, str], outputs: tuple[int, str]) -> Specification:
        shape = (len(layers), E, inputs[0], outputs[0])
        return Specification(shape, ("layers", "experts", inputs[1], outputs[1]), gain / math.sqrt(inputs[0]), layers)

    width, inner = (D, "width"), (F, "feedforward")
    table = {"router": _kernel(layers, width, (E, "gates"))}
    if model.expert_feedforward in GATED:
        table["expert_gate"] = kernels(width, inner)
    return table | {"expert_up": kernels(width, inner), "expert_down": kernels(inner, width)}


def count(model: Model, vocabulary_size: int) -> int:
    """The number of parameters, every scale and matrix counted."""
    return sum(specification.size for specification in specifications(model, vocabulary_size).values())


def active(model: Model, vocabulary_size: int) -> int:
    """The number of parameters that one token passes through: of E experts, the top ones."""
    table = specifications(model, vocabulary_size).values()
    experts = sum(specification.size for specification in table if specification.stack == 2)
    unused = 1 - model.experts.top / model.experts.count if model.experts else 0.0
    return count(model, vocabulary_size) - round(experts * unused)


def initialize(model: Model, vocabulary_size: int, seed: int) -> Parameters:
    """Draws float32 parameters; each logical matrix from a key of its own (seed, name, layer, expert)."""
    root = jax.random.key(seed)

    def draw(name: str, specification: Specification) -> jax.Array:
        if specification.deviation is None:
            return jnp.ones(specification.shape, jnp.float32)
        if specification.deviation == 0:
            return jnp.zeros(specification.shape, jnp.float32)
        keys = jax.random.fold_in(root, int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
        numbers = [jnp.array(specification.layers), jnp.arange(specification.shape[1])][: specification.stack]

        def normal(key: jax.Array) -> jax.Array:
            return jax.random.normal(key, specification.shape[specification.stack :], jnp.float32)

        for depth, along in enumerate(numbers):
            fold = jax.vmap(jax.random.fold_in, (None, 0))
            keys = (fold if depth == 0 else jax.vmap(fold, (0, None)))(keys, along)
            normal = jax.vmap(normal)
        return specification.deviation * normal(keys)

    table = specifications(model, vocabulary_size)
    return jax.jit(lambda: {name: draw(name, specification) for name, specification in table.items()})()


def unstack(arrays: Parameters, table: Table) -> dict[str, jax.Array]:
    """The logical matrices under their names: `embedding`, `q.000`, `q.001` … by layer, `expert_up.001.007` by expert.

    `arrays` may hold a part of the table and have other trailing axes. The results are fresh arrays: none shares memory
    with `arrays`, which may then be donated.
    """
    matrices: dict[str, jax.Array] = {}
    for name, array in arrays.items():
        specification = table[name]
        if specification.stack == 0:
            matrices[name] = jnp.copy(array)
            continue
        for index in itertools.product(*map(range, array.shape[: specification.stack])):
            matrices[_logical_name(name, specification, index)] = array[index]
    return matrices


def restack(matrices: Mapping[str, jax.Array], table: Table) -> Parameters:
    """The inverse of `unstack`."""
    arrays: Parameters = {}
    for name in dict.fromkeys(matrix.partition(".")[0] for matrix in matrices):
        specification = table[name]
        if specification.stack == 0:
            arrays[name] = matrices[name]
            continue
        stack = specification.shape[: specification.stack]
        parts = [matrices[_logical_name(name, specification, i)] for i in itertools.product(*map(range, stack))]
        arrays[name] = jnp.stack(parts).reshape(*stack, *parts[0].shape)
    return arrays


def _logical_name(name: str, specification: Specification, index: tuple[int, ...]) -> str:
    layer, *expert = index
    return ".".join([name, f"{specification.layers[layer]:03d}", *(f"{number:03d}" for number in expert)])
