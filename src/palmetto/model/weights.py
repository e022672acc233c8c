"""The weights of a model, described by one table with a row for each weight.

A weight's row says everything about its treatment; no code outside the table decides by a weight's name.

A weight that several layers have is stored as one array with a leading axis "layers" and, for experts, a second axis
"experts". Its logical matrices, one for each layer or expert, are the units that the optimizer scales, checkpoints name
and digests cover, however memory holds them.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.recipe.mesh import Mesh
from palmetto.recipe.model import GATED, Model

Parameters = dict[str, jax.Array]
"""The parameters by name: float32 arrays with the shapes of the table."""


LOGICAL_AXES: Mapping[str, str | None] = {
    "batch": "data",
    "layers": "stage",
    "experts": "expert",
    "width": "data",
    "vocabulary": "data",
    "features": "model",
    "heads": "model",
    "key_value_heads": "model",
    "feedforward": "model",
    "head": None,
    "gates": None,
    "rank": None,
    "buckets": None,
    "positions": None,
}
"""The axis of the mesh that divides each logical axis of a weight or a cache. The embedding's width is called features,
so that it can be divided along model while its vocabulary is divided along data."""


class Weight(NamedTuple):
    """Describes a weight, both as it is stored and as a step computes with it: one row of the table."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    """The logical axis of each dimension."""
    deviation: float | None
    """The standard deviation of the normal initializer; 0 for zeros, None for ones."""
    layers: tuple[int, ...] = ()
    """The layers that have it, in the order of the leading axis; empty for a weight outside the layers."""
    cast: bool = False
    """True if a step casts it to the activation type before any other use, so that devices may exchange it in that."""
    norm: str | None = None
    """The bias-free norm before this kernel, whose scale is multiplied into its rows; None if there is none."""
    rotated: bool = False
    """True if the last axis holds heads whose pairs rotary positions rotate."""
    factor: float = 1.0
    """The number that a step multiplies it by, once."""
    divisor: float = 1.0
    """The number that a step divides it by, once; x / a and x · (1 / a) round differently."""
    transposed: bool = False
    """True if a step holds it with its last two axes swapped."""
    fused: str | None = None
    """The name of the array in which a step concatenates it with others, if one device computes whole layers."""
    adapts: str | None = None
    """The name of the weight to which its product with another is added (adapters.py)."""
    frozen: bool = False
    """True if a run leaves it as it is."""
    channels: str | None = None
    """The logical axis of its outputs, if decoding may hold it in fewer bits, in int8 with a scale for each output."""

    @property
    def stack(self) -> int:
        """The number of leading axes that count logical matrices: 0, 1 (layers) or 2 (layers and experts)."""
        return sum(axis in ("layers", "experts") for axis in self.axes[:2])

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def of_expert(self) -> bool:
        """Returns whether each expert has its own."""
        return "experts" in self.axes

    @property
    def data_dimension(self) -> int | None:
        """The dimension, counted from the end, that devices along the axis data may divide; None if there is none."""
        places = [LOGICAL_AXES[axis] for axis in self.axes]
        return places.index("data") - len(places) if "data" in places else None


Table = Mapping[str, Weight]


def mesh_axis(logical_axis: str, model: Model, mesh: Mesh) -> str | None:
    """Returns the axis of the mesh that divides a logical axis; None if each device holds it whole.

    If the devices along model do not divide the key/value heads evenly, as in multi-query attention, each holds all.
    """
    axis = LOGICAL_AXES[logical_axis]
    if axis is None or mesh.sizes[axis] == 1:
        return None
    return None if logical_axis == "key_value_heads" and model.key_value_heads % mesh.model else axis


ATTENTION_INPUTS = ("qkv", "q", "k", "v")
"""The kernels that project attention's input, in the order of their results."""
FEEDFORWARD_INPUTS = ("up", "gate")
"""The kernels that project a feed-forward's input, in the order of their results."""
EXPERT_INPUTS = ("expert_up", "expert_gate")
"""The kernels that project the experts' input, in the order of their results."""


def weight_table(model: Model, vocabulary_size: int) -> dict[str, Weight]:
    """Returns the row of every weight of a model.

    Kernels are initialized with deviation 1/√n_in and embeddings with 1, or 1/√D if they give logits undivided, all
    normally distributed; norm scales are 1 and biases 0. Kernels are [layers, n_in, n_out]; n_out of q is H·Q, of k and
    v K·Q. DeepNorm's β multiplies the deviations of v, o and the feed-forward (arXiv 2203.00555, figure 2, decoder).
    """
    D, V = model.d_model, vocabulary_size
    gain = (8 * model.layers) ** -0.25 if model.norm_position == "deep" else 1.0
    positions = model.positions.of_model(model)
    summed = bool(positions) or model.embedding_norm
    deviation = 1 / math.sqrt(D) if model.tied_embedding == "undivided" else 1.0
    embedding = Weight((V, D), ("vocabulary", "features"), deviation, cast=not summed, channels="vocabulary")
    table = {"embedding": embedding, **positions}
    if model.embedding_norm:
        table |= _norm("embedding_norm", model)
    table |= _layer_norms(model) | _attention(model, gain) | _feedforward(model, gain) | _experts(model, gain)
    if model.norm_position in ("pre", "sandwich"):
        table |= _norm("final_norm", model, divisor=model.logit_divisor)
    if not model.tied_embedding:
        output = Weight((D, V), ("features", "vocabulary"), 1 / math.sqrt(D), cast=True, channels="vocabulary")
        table["output"] = output._replace(transposed=True)
    return table


def _norm(name: str, model: Model, layers: tuple[int, ...] = (), divisor: float = 1.0) -> dict[str, Weight]:
    stack = len(layers)
    shape, axes = ((stack, model.d_model), ("layers", "width")) if stack else ((model.d_model,), ("width",))
    norm = {name: Weight(shape, axes, None, layers, divisor=divisor)}
    return norm | {f"{name}_bias": Weight(shape, axes, 0.0, layers, divisor=divisor)} if model.norm_bias else norm


def _layer_norms(model: Model) -> dict[str, Weight]:
    """Returns the norms of the layers.

    `norm` is attention's norm, before it or, with post and deep, after it; in a parallel block the feed-forward shares
    it.
    """
    names = ["norm"]
    if model.block == "serial":
        names.append("feedforward_norm")
    if model.norm_position == "sandwich":
        names += ["norm_after", "feedforward_norm_after"]
    table: dict[str, Weight] = {}
    for name in names:
        table |= _norm(name, model, tuple(range(model.layers)))
    return table


def _folded(model: Model, norm: str) -> str | None:
    """Returns the norm if its scale can be multiplied into the kernels after it, otherwise None."""
    return norm if model.norm_position in ("pre", "sandwich") and not model.norm_bias else None


def _feedforward_norm(model: Model) -> str | None:
    return _folded(model, "norm" if model.block == "parallel" else "feedforward_norm")


def _kernel(
    layers: tuple[int, ...], inputs: tuple[int, str], outputs: tuple[int, str], gain: float = 1.0, experts: int = 0
) -> Weight:
    stack, axes = ((len(layers), experts), ("layers", "experts")) if experts else ((len(layers),), ("layers",))
    shape, deviation = (*stack, inputs[0], outputs[0]), gain / math.sqrt(inputs[0])
    return Weight(shape, (*axes, inputs[1], outputs[1]), deviation, layers, cast=True, channels=outputs[1])


def _biases(table: Table) -> dict[str, Weight]:
    """Returns a bias for each kernel of a table, with the treatment of the kernel's outputs."""

    def bias(of: Weight) -> Weight:
        shape, axes, fused = (of.shape[0], of.shape[2]), (of.axes[0], of.axes[2]), of.fused and f"{of.fused}_bias"
        return Weight(shape, axes, 0.0, of.layers, rotated=of.rotated, factor=of.factor, fused=fused)

    return {f"{name}_bias": bias(of) for name, of in table.items()}


def _attention(model: Model, gain: float) -> dict[str, Weight]:
    layers, L = tuple(range(model.layers)), model.layers
    H, K, Q = model.heads, model.key_value_heads, model.query_size
    width, heads, shared = (model.d_model, "width"), (H * Q, "heads"), (K * Q, "key_value_heads")
    norm, rotated, to_heads = _folded(model, "norm"), model.positions.turn_pairs, 1 / math.sqrt(Q)
    queries = _kernel(layers, width, heads)._replace(rotated=rotated, factor=1.0 if model.qk_norm else to_heads)
    keys, values = _kernel(layers, width, shared)._replace(rotated=rotated), _kernel(layers, width, shared, gain)
    table = {
        name: kernel._replace(norm=norm, fused="qkv") for name, kernel in {"q": queries, "k": keys, "v": values}.items()
    }
    table["o"] = _kernel(layers, heads, width, gain)._replace(transposed=True)
    if model.biases:
        table |= _biases(table)
    if model.qk_norm:
        head_norm = Weight((L, Q), ("layers", "head"), None, layers, rotated=rotated)
        table |= {"q_norm": head_norm._replace(factor=to_heads), "k_norm": head_norm}
    return {**table, **model.positions.of_layers(model)}


def _feedforward(model: Model, gain: float) -> dict[str, Weight]:
    layers = tuple(layer for layer in range(model.layers) if not model.has_experts(layer))
    if not layers:
        return {}
    width, inner = (model.d_model, "width"), (model.feedforward_size, "feedforward")
    into = _kernel(layers, width, inner, gain)._replace(norm=_feedforward_norm(model))
    table = {"gate": into} if model.feedforward in GATED else {}
    table |= {"up": into, "down": _kernel(layers, inner, width, gain)._replace(transposed=True)}
    return table | _biases(table) if model.biases else table


def _experts(model: Model, gain: float) -> dict[str, Weight]:
    layers = tuple(filter(model.has_experts, range(model.layers)))
    if model.experts is None or not layers:
        return {}
    E, norm = model.experts.count, _feedforward_norm(model)
    width, inner = (model.d_model, "width"), (model.expert_size, "feedforward")
    into = _kernel(layers, width, inner, gain, E)._replace(norm=norm)
    table = {"router": _kernel(layers, width, (E, "gates"))._replace(norm=norm, cast=False, channels=None)}
    if model.expert_feedforward in GATED:
        table["expert_gate"] = into
    return table | {"expert_up": into, "expert_down": _kernel(layers, inner, width, gain, E)._replace(transposed=True)}


def count(model: Model, vocabulary_size: int) -> int:
    """Returns the number of parameters, norm scales and biases included."""
    return sum(weight.size for weight in weight_table(model, vocabulary_size).values())


def active(model: Model, vocabulary_size: int) -> int:
    """Returns the number of parameters that process one token: of E experts, only the top ones."""
    experts = sum(weight.size for weight in weight_table(model, vocabulary_size).values() if weight.of_expert)
    unused = 1 - model.experts.top / model.experts.count if model.experts else 0.0
    return count(model, vocabulary_size) - round(experts * unused)


def initialize(model: Model, vocabulary_size: int, seed: int) -> Parameters:
    """Returns the float32 weights of a model, as `draw` does."""
    return draw(weight_table(model, vocabulary_size), seed)


def draw(table: Table, seed: int) -> Parameters:
    """Returns float32 parameters, each logical matrix drawn from its own key of (seed, name, layer, expert)."""
    root = jax.random.key(seed)

    def drawn(name: str, weight: Weight) -> jax.Array:
        if weight.deviation is None:
            return jnp.ones(weight.shape, jnp.float32)
        if weight.deviation == 0:
            return jnp.zeros(weight.shape, jnp.float32)
        keys = jax.random.fold_in(root, int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
        numbers = [jnp.array(weight.layers), jnp.arange(weight.shape[1])][: weight.stack]

        def normal(key: jax.Array) -> jax.Array:
            return jax.random.normal(key, weight.shape[weight.stack :], jnp.float32)

        for depth, along in enumerate(numbers):
            fold = jax.vmap(jax.random.fold_in, (None, 0))
            keys = (fold if depth == 0 else jax.vmap(fold, (0, None)))(keys, along)
            normal = jax.vmap(normal)
        return weight.deviation * normal(keys)

    return jax.jit(lambda: {name: drawn(name, weight) for name, weight in table.items()})()


def unstack(arrays: Parameters, table: Table) -> dict[str, jax.Array]:
    """Returns the logical matrices by name: `embedding`, `q.000`, `q.001` … by layer, `expert_up.001.007` by expert.

    `arrays` may hold some of the table's weights only, with other trailing axes. The results are new arrays that share
    no memory with `arrays`, which may then be donated.
    """
    matrices: dict[str, jax.Array] = {}
    for name, array in arrays.items():
        weight = table[name]
        if weight.stack == 0:
            matrices[name] = jnp.copy(array)
            continue
        for index in itertools.product(*map(range, array.shape[: weight.stack])):
            matrices[logical_name(name, weight, index)] = array[index]
    return matrices


def restack(matrices: Mapping[str, jax.Array], table: Table) -> Parameters:
    """Returns the arrays of logical matrices, the inverse of `unstack`."""
    arrays: Parameters = {}
    for name in dict.fromkeys(matrix.partition(".")[0] for matrix in matrices):
        weight = table[name]
        if weight.stack == 0:
            arrays[name] = matrices[name]
            continue
        stack = weight.shape[: weight.stack]
        parts = [matrices[logical_name(name, weight, i)] for i in itertools.product(*map(range, stack))]
        arrays[name] = jnp.stack(parts).reshape(*stack, *parts[0].shape)
    return arrays


def logical_names(table: Table) -> Iterator[str]:
    """Yields the name of every logical matrix of a model."""
    for name, weight in table.items():
        for index in itertools.product(*map(range, weight.shape[: weight.stack])):
            yield logical_name(name, weight, index)


def logical_name(name: str, weight: Weight, index: tuple[int, ...]) -> str:
    """Returns the name of the logical matrix at an index of the leading axes, () for a weight outside the layers."""
    if not index:
        return name
    layer, *expert = index
    return ".".join([name, f"{weight.layers[layer]:03d}", *(f"{number:03d}" for number in expert)])
