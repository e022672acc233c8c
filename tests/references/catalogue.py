"""Computes every decoder that a recipe can choose, in NumPy and float64, deliberately slowly.

It is written from the formulas of the papers that recipe/model.py cites and shares nothing with palmetto except the
names and shapes of parameters. It processes one sequence, one head and one query at a time. All kinds of positions
are functions of the distance between query and key as the attention sees it; queries and keys are never rotated.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.model.attentions.full import FullAttention
from palmetto.model.attentions.local import LocalAttention
from palmetto.model.attentions.memory import MemoryAttention
from palmetto.model.attentions.parallel_windows import ParallelWindows
from palmetto.model.attentions.sinks import SinkAttention
from palmetto.model.attentions.strided import StridedAttention
from palmetto.model.positions.alibi import AlibiPositions
from palmetto.model.positions.learned import LearnedPositions
from palmetto.model.positions.rotary import RotaryPositions
from palmetto.model.positions.sinusoidal import SinusoidalPositions
from palmetto.model.positions.t5 import T5Positions
from palmetto.model.positions.transformer_xl import TransformerXLPositions
from palmetto.model.weights import weight_table
from palmetto.recipe.model import Experts, Feedforward, Model
from palmetto.recipe.parts import Attention

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Stored = Mapping[str, npt.ArrayLike]

EPSILON = 1e-5
"""The ε of all norms; the papers give none."""


class Routing(NamedTuple):
    """Holds the statistics of one layer's router, means over sequences and tokens."""

    load: Array
    """[E]"""
    dropped: float
    entropy: float
    balance: float
    z: float


class Output(NamedTuple):
    """Holds the results for a batch."""

    logits: Array
    """[B, T, V]"""
    routing: list[Routing]
    """The routings of the layers with experts, in order."""


class Losses(NamedTuple):
    """Holds means over the predicted tokens."""

    objective: float
    cross_entropy: float
    z: float


def draw(model: Model, vocabulary: int, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Returns parameters with about their initial deviations; none is left at one or zero, where it could go unused."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, specification in weight_table(model, vocabulary).items():
        normal = random.normal(size=specification.shape)
        if specification.deviation is None:
            array = 1 + 0.3 * normal
        elif name == "relative":
            array = normal
        else:
            array = (specification.deviation or 0.3) * normal
        arrays[name] = array.astype(np.float32)
    return arrays


def objective(
    model: Model,
    parameters: Stored,
    windows: Integers,
    *,
    z_loss: float = 0.0,
    scored: npt.NDArray[np.bool_] | None = None,
    prefix: Integers | None = None,
    looked_up: npt.ArrayLike | None = None,
) -> Losses:
    """Returns the losses of predicting all tokens of windows [B, M + 1] but the first, or those that are `scored`."""
    output = forward(model, parameters, windows[:, :-1], prefix, looked_up)
    cross_entropy = z = predicted = 0.0
    for row, window in enumerate(windows):
        for place in range(1, len(window)):
            if scored is not None and not scored[row, place]:
                continue
            logits = output.logits[row, place - 1]
            log_z = _log_sum_exp(logits)
            cross_entropy += log_z - logits[window[place]]
            z += log_z**2
            predicted += 1
    cross_entropy, z = cross_entropy / predicted, z / predicted
    total = cross_entropy + z_loss * z
    if model.experts is not None:
        for routing in output.routing:
            extra = model.experts.balance_loss * routing.balance + model.experts.router_z_loss * routing.z
            total += extra / len(output.routing)
    return Losses(total, cross_entropy, z)


def forward(
    model: Model,
    parameters: Stored,
    tokens: Integers,
    prefix: Integers | None = None,
    looked_up: npt.ArrayLike | None = None,
) -> Output:
    """Returns the logits of tokens [B, T]; the first prefix[b] tokens of sequence b see each other.

    `looked_up` [V, D] is the input embedding, if it differs from the output embedding.
    """
    arrays = {name: np.asarray(array, np.float64) for name, array in parameters.items()}
    embedding = arrays["embedding"] if looked_up is None else np.asarray(looked_up, np.float64)
    logits = []
    routers: list[list[_Router]] = []
    for row, sequence in enumerate(tokens):
        first = 0 if prefix is None else int(prefix[row])
        states, passed = _sequence(model, arrays, embedding, sequence, first)
        output = arrays["embedding"].T if model.tied_embedding else arrays["output"]
        if model.tied_embedding is True:
            output = output / math.sqrt(model.d_model)
        logits.append(states @ output)
        routers.append(passed)
    return Output(np.stack(logits), [_routing(model, list(of_layer)) for of_layer in zip(*routers, strict=True)])


class _Router(NamedTuple):
    """Holds the routing of one layer and sequence."""

    logits: Array
    """[T, E]"""
    chosen: list[list[int]]
    """The experts of each token, best first."""
    dropped: int


def _routing(model: Model, sequences: list[_Router]) -> Routing:
    assert model.experts is not None
    count, assignments = model.experts.count, 0
    load = np.zeros(count)
    entropies, squares, balances = [], [], []
    for router in sequences:
        normalizers = [_log_sum_exp(logits) for logits in router.logits]
        gates = [np.exp(logits - log_z) for logits, log_z in zip(router.logits, normalizers, strict=True)]
        for chosen in router.chosen:
            assignments += len(chosen)
            for expert in chosen:
                load[expert] += 1
        squares += [log_z**2 for log_z in normalizers]
        entropies += [-float(np.sum(gate * np.log(gate))) for gate in gates]
        first_choices = [chosen[0] for chosen in router.chosen]
        fractions = [first_choices.count(expert) / len(gates) for expert in range(count)]
        balances.append(count * sum(f * np.mean([gate[e] for gate in gates]) for e, f in enumerate(fractions)))
    dropped = sum(router.dropped for router in sequences) / assignments
    return Routing(
        load / assignments, dropped, float(np.mean(entropies)), float(np.mean(balances)), float(np.mean(squares))
    )


class _Layer:
    """Holds the arrays of one layer, selected from their stacks by the layers that have them."""

    def __init__(self, model: Model, arrays: Mapping[str, Array], number: int) -> None:
        self.number = number
        self._arrays = {
            name: arrays[name][specification.layers.index(number)]
            for name, specification in weight_table(model, len(arrays["embedding"])).items()
            if number in specification.layers
        }

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def through(self, name: str, x: Array) -> Array:
        """Returns x multiplied by the named kernel, plus its bias if there is one."""
        return x @ self._arrays[name] + self._arrays.get(f"{name}_bias", 0.0)

    def norm(self, model: Model, name: str, x: Array) -> Array:
        return _norm(model, x, self._arrays[name], self._arrays.get(f"{name}_bias"))


def _norm(model: Model, x: Array, scale: Array, bias: Array | None = None) -> Array:
    """Returns each vector of x [..., D] normalized by LayerNorm (arXiv 1607.06450) or RMSNorm (arXiv 1910.07467)."""
    if model.norm == "layer":
        x = x - x.mean(axis=-1, keepdims=True)
    normed = x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + EPSILON) * scale
    return normed if bias is None else normed + bias


def _sequence(
    model: Model, arrays: Mapping[str, Array], embedding: Array, tokens: Integers, prefix: int
) -> tuple[Array, list[_Router]]:
    """Returns the final states [T, D] of one sequence before the output kernel, and its routings."""
    x = embedding[tokens]
    places = [_place(model.attention, position) for position in range(len(tokens))]
    if isinstance(model.positions, LearnedPositions):
        x = x + arrays["positions"][places]
    elif isinstance(model.positions, SinusoidalPositions):
        x = x + np.stack([_sinusoid(place, model.d_model) for place in places])
    if model.embedding_norm:
        x = _norm(model, x, arrays["embedding_norm"], arrays.get("embedding_norm_bias"))
    routers = []
    for number in range(model.layers):
        layer = _Layer(model, arrays, number)
        x, router = _block(model, layer, x, prefix)
        if router is not None:
            routers.append(router)
    if model.norm_position in ("pre", "sandwich"):
        x = _norm(model, x, arrays["final_norm"], arrays.get("final_norm_bias"))
    return x, routers


def _block(model: Model, layer: _Layer, x: Array, prefix: int) -> tuple[Array, _Router | None]:
    position = model.norm_position
    alpha = (2 * model.layers) ** (1 / 4)
    if model.block == "parallel":
        n = layer.norm(model, "norm", x) if position in ("pre", "sandwich") else x
        attended = _attention(model, layer, n, prefix)
        fed, router = _feedforward(model, layer, n)
        if position == "pre":
            return x + fed + attended, router
        if position == "post":
            return layer.norm(model, "norm", x + fed + attended), router
        after = layer.norm(model, "feedforward_norm_after", fed) + layer.norm(model, "norm_after", attended)
        return x + after, router
    if position == "pre":
        x = x + _attention(model, layer, layer.norm(model, "norm", x), prefix)
        fed, router = _feedforward(model, layer, layer.norm(model, "feedforward_norm", x))
        return x + fed, router
    if position == "sandwich":
        attended = _attention(model, layer, layer.norm(model, "norm", x), prefix)
        x = x + layer.norm(model, "norm_after", attended)
        fed, router = _feedforward(model, layer, layer.norm(model, "feedforward_norm", x))
        return x + layer.norm(model, "feedforward_norm_after", fed), router
    share = alpha if position == "deep" else 1.0
    x = layer.norm(model, "norm", share * x + _attention(model, layer, x, prefix))
    fed, router = _feedforward(model, layer, x)
    return layer.norm(model, "feedforward_norm", share * x + fed), router


# Attention


def _attention(model: Model, layer: _Layer, x: Array, prefix: int) -> Array:
    size, shared_by = model.query_size, model.heads // model.key_value_heads
    all_q, all_k, all_v = (layer.through(name, x) for name in "qkv")
    kind = _attention_of(model, layer.number)
    heads = []
    for head in range(model.heads):
        group = head // shared_by
        q = all_q[:, head * size : (head + 1) * size]
        k, v = (array[:, group * size : (group + 1) * size] for array in (all_k, all_v))
        if model.qk_norm:
            q, k = _norm(model, q, layer["q_norm"]), _norm(model, k, layer["k_norm"])
        heads.append(np.stack([_attend(model, layer, kind, head, t, q[t], k, v, prefix) for t in range(len(x))]))
    return layer.through("o", np.concatenate(heads, axis=1))


def _attention_of(model: Model, number: int) -> Attention:
    """Returns the attention of a layer, from 0: every n-th layer has the chosen one; only one layer has a memory, the
    others its window.
    """
    chosen = model.attention
    if isinstance(chosen, MemoryAttention) and number != chosen.layer:
        return LocalAttention(window=chosen.window)
    if isinstance(chosen, LocalAttention | StridedAttention | SinkAttention) and (number + 1) % chosen.every:
        return FullAttention()
    return chosen


def _attend(
    model: Model, layer: _Layer, kind: Attention, head: int, t: int, q: Array, k: Array, v: Array, prefix: int
) -> Array:
    """Returns the attention output at position t, from the query q [Q], the keys k [T, Q] and the values v [T, Q]."""
    seen = [s for s in range(len(k)) if _sees(kind, t, s) or (t < prefix and s < prefix)]
    scores = _scores(model, layer, head, q, k[seen], [_seen_distance(kind, t, s) for s in seen])
    if isinstance(kind, MemoryAttention):
        past = [s for s in range(t) if t - s >= kind.window]
        at_the_edge = _scores(model, layer, head, q, k[past], [kind.window] * len(past))
        best = np.argsort(-at_the_edge, kind="stable")[: kind.neighbours]
        seen, scores = seen + [past[i] for i in best], np.concatenate([scores, at_the_edge[best]])
    weights = np.exp(scores - scores.max())
    attended: Array = weights / weights.sum() @ v[seen]
    return attended


def _sees(kind: Attention, t: int, s: int) -> bool:
    """Returns whether position t sees position s, apart from prefixes and memories."""
    if s > t:
        return False
    match kind:
        case FullAttention():
            return True
        case LocalAttention() | MemoryAttention():
            return t - s < kind.window
        case StridedAttention():
            return t - s < kind.stride or (t - s) % kind.stride == 0
        case SinkAttention():
            return t - s < kind.window or s < kind.sinks
        case ParallelWindows():
            return t >= kind.count * kind.window or t // kind.window == s // kind.window
        case _:
            raise AssertionError(f"no formula for {kind.name}")


def _place(kind: Attention, t: int) -> int:
    """Returns the position of index t: parallel windows start at 0, and later positions continue after a window."""
    if not isinstance(kind, ParallelWindows):
        return t
    behind = t - kind.count * kind.window
    return kind.window + behind if behind >= 0 else t % kind.window


def _seen_distance(kind: Attention, t: int, s: int) -> int:
    """Returns the distance of position s behind t, as the attention sees it; it is negative for later positions."""
    distance = _place(kind, t) - _place(kind, s)
    return min(distance, kind.window) if isinstance(kind, SinkAttention) else distance


def _scores(model: Model, layer: _Layer, head: int, q: Array, keys: Array, distances: list[int]) -> Array:
    """Returns the scores of query q [Q] with each of `keys` [n, Q], at the given distances."""
    size, positions = model.query_size, model.positions
    scale = 1 / math.sqrt(size)
    scores: Array
    match positions:
        case RotaryPositions():
            # A pair is a complex number; after rotation, query times conjugate key is rotated by the distance.
            turn = np.exp(1j * np.outer(distances, _frequencies(positions, size)))
            query, key = q[0::2] + 1j * q[1::2], keys[:, 0::2] + 1j * keys[:, 1::2]
            scores = np.sum((turn * query * key.conj()).real, axis=1) * scale
        case AlibiPositions():
            scores = keys @ q * scale - _slope(head, model.heads) * np.abs(distances)
        case T5Positions():
            biases = [layer["relative"][_bucket(distance, positions), head] for distance in distances]
            scores = keys @ q * scale + np.array(biases)
        case TransformerXLPositions():
            kernel = layer["r"][:, head * size : (head + 1) * size]
            r = np.array([_sinusoid(distance, model.d_model) @ kernel for distance in distances]).reshape(-1, size)
            scores = (keys @ (q + layer["u"][head]) + r @ (q + layer["w"][head])) * scale
        case LearnedPositions() | SinusoidalPositions():
            scores = keys @ q * scale
    return scores


def _frequencies(positions: RotaryPositions, size: int) -> Array:
    """Returns the radians per position of each of the size/2 pairs."""
    exponents = np.arange(size // 2) * 2 / size
    match positions.scaling:
        case "none":
            return np.asarray(positions.base**-exponents)
        case "interpolation":
            return np.asarray(positions.base**-exponents / positions.factor)
        case "ntk":
            # The base such that the last pair's exponent (size − 2)/size divides its frequency by the factor.
            base = positions.base * positions.factor ** (1 / exponents[-1])
            return np.asarray(base**-exponents)
        case "truncated":
            assert positions.trained is not None
            whole = positions.base**-exponents
            return np.array([f if f * positions.trained >= 2 * math.pi else 0.0 for f in whole])


def _sinusoid(position: int, width: int) -> Array:
    """Returns the sines of frequencies 10000^(−2i/width), then the cosines, [width] (arXiv 1706.03762, section 3.5)."""
    angles = [position / 10000 ** (2 * i / width) for i in range(width // 2)]
    return np.array([math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles])


def _slope(head: int, heads: int) -> float:
    """Returns ALiBi's slope of a head (arXiv 2108.12409, section 3 and its code).

    Of n = 2^m heads, head i from 1 has 2^(−8i/n); heads beyond the largest power of two take the first, third, … slope
    of the next power.
    """
    power = 2 ** int(math.log2(heads))
    if head < power:
        return float(2 ** (-8 * (head + 1) / power))
    return float(2 ** (-8 * (2 * (head - power) + 1) / (2 * power)))


def _bucket(distance: int, positions: T5Positions) -> int:
    """Returns T5's bucket of a distance (arXiv 1910.10683, section 2.1 and its code)."""
    count, start = positions.buckets, 0
    if positions.bidirectional:
        count //= 2
        start = count if distance < 0 else 0
        distance = abs(distance)
    distance = max(distance, 0)
    exact = count // 2
    if distance < exact:
        return start + distance
    logarithmic = math.log(distance / exact) / math.log(positions.max_distance / exact) * (count - exact)
    return start + min(exact + int(logarithmic), count - 1)


# Feed-forward


def _feedforward(model: Model, layer: _Layer, x: Array) -> tuple[Array, _Router | None]:
    if model.experts is not None and (layer.number + 1) % model.experts.every == 0:
        return _mixture(layer, x, model.experts, model.experts.feedforward or model.feedforward)
    gate = layer.through("gate", x) if "glu" in model.feedforward else None
    return layer.through("down", _activate(model.feedforward, layer.through("up", x), gate)), None


def _activate(name: Feedforward, up: Array, gate: Array | None) -> Array:
    """Returns f(up), or f(gate) ⊙ up, for Shazeer's variants (arXiv 2002.05202)."""
    if gate is not None:
        f = {"glu": _sigmoid(gate), "geglu": _gelu(gate), "swiglu": gate * _sigmoid(gate)}[name]
        return f * up
    ungated = {"relu": np.maximum(up, 0), "gelu": _gelu(up), "gelu_tanh": _gelu_tanh(up), "swish": up * _sigmoid(up)}
    return ungated[name]


def _mixture(layer: _Layer, x: Array, experts: Experts, name: Feedforward) -> tuple[Array, _Router]:
    """Returns GLaM's mixture (arXiv 2112.06905, section 4): tokens go in order to their best experts that have room."""
    length = len(x)
    seats = [length] * experts.count
    if experts.capacity_factor is not None:
        share = experts.top * length / experts.count
        seats = [math.ceil(experts.capacity_factor * share)] * experts.count
    logits = x @ layer["router"]
    result, all_chosen, dropped = np.zeros_like(x), [], 0
    for t in range(length):
        chosen = sorted(range(experts.count), key=lambda e, t=t: (-logits[t, e], e))[: experts.top]  # type: ignore[misc]
        probabilities = np.exp(logits[t] - _log_sum_exp(logits[t]))
        for expert in chosen:
            if seats[expert] == 0:
                dropped += 1
                continue
            seats[expert] -= 1
            up = x[t] @ layer["expert_up"][expert]
            gate = x[t] @ layer["expert_gate"][expert] if "glu" in name else None
            weight = probabilities[expert] / sum(probabilities[e] for e in chosen)
            result[t] += weight * (_activate(name, up, gate) @ layer["expert_down"][expert])
        all_chosen.append(chosen)
    return result, _Router(logits, all_chosen, dropped)


def _gelu(x: Array) -> Array:
    return np.asarray(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def _gelu_tanh(x: Array) -> Array:
    """Returns GELU's approximation (arXiv 1606.08415, section 2)."""
    return np.asarray(x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _log_sum_exp(x: Array) -> float:
    highest = float(x.max())
    return highest + math.log(float(np.sum(np.exp(x - highest))))
