"""Computes PaLM and its optimizers in NumPy and float64 from the paper (arXiv 2204.02311), deliberately slowly.

It shares nothing with palmetto except the names of parameters. It processes one sequence, one head and one matrix at a
time, and its backward pass is derived by hand; tests/model/test_reference.py checks it by finite differences.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int32]

EPSILON = 1e-5
"""The ε of LayerNorm; the paper gives none."""


def draw(
    seed: int, *, layers: int, d_model: int, heads: int, head_size: int, d_ff: int, vocabulary: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Returns parameters with the initial deviations; norm scales differ from 1, so that omitting one would show."""
    random, attended = np.random.default_rng(seed), heads * head_size

    def kernel(inputs: int, outputs: int) -> Array:
        return random.normal(size=(layers, inputs, outputs)) / np.sqrt(inputs)

    arrays = {
        "embedding": random.normal(size=(vocabulary, d_model)),
        "norm": 1 + 0.3 * random.normal(size=(layers, d_model)),
        "q": kernel(d_model, attended),
        "k": kernel(d_model, head_size),
        "v": kernel(d_model, head_size),
        "o": kernel(attended, d_model),
        "gate": kernel(d_model, d_ff),
        "up": kernel(d_model, d_ff),
        "down": kernel(d_ff, d_model),
        "final_norm": 1 + 0.3 * random.normal(size=d_model),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


class Result(NamedTuple):
    """Holds means over the tokens of a batch, and the gradient of cross_entropy + z_loss · z."""

    cross_entropy: float
    z: float
    gradients: dict[str, Array]


def logits(parameters: Mapping[str, npt.ArrayLike], tokens: Tokens, heads: int) -> Array:
    """Returns the logits [B, T, V] of tokens [B, T]."""
    doubles = _doubles(parameters)
    return np.stack([_forward(doubles, row, heads).logits for row in tokens])


def losses(parameters: Mapping[str, npt.ArrayLike], windows: Tokens, heads: int, z_loss: float) -> Result:
    """Returns the mean losses of predicting each next token of windows [B, T + 1], and their gradient."""
    doubles = _doubles(parameters)
    gradients = {name: np.zeros_like(array) for name, array in doubles.items()}
    predicted = windows[:, 1:].size
    cross_entropy = z = 0.0
    for window in windows:
        tokens, targets = window[:-1], window[1:]
        passed = _forward(doubles, tokens, heads)
        highest = passed.logits.max(axis=1)
        log_z = highest + np.log(np.sum(np.exp(passed.logits - highest[:, None]), axis=1))
        correct = passed.logits[np.arange(len(targets)), targets]
        cross_entropy += float(np.sum(log_z - correct)) / predicted
        z += float(np.sum(log_z**2)) / predicted
        softmax = np.exp(passed.logits - log_z[:, None])
        d_logits = softmax * (1 + 2 * z_loss * log_z)[:, None]
        d_logits[np.arange(len(targets)), targets] -= 1
        _backward(doubles, passed, tokens, heads, d_logits / predicted, gradients)
    return Result(cross_entropy, z, gradients)


class _Norm(NamedTuple):
    normed: Array
    inverse_deviation: Array


class _Head(NamedTuple):
    q: Array
    weights: Array


class _Layer(NamedTuple):
    norm: _Norm
    h: Array
    k: Array
    v: Array
    heads: list[_Head]
    attended: Array
    gate: Array
    up: Array


class _Passed(NamedTuple):
    layers: list[_Layer]
    final_norm: _Norm
    states: Array
    logits: Array


def _forward(parameters: dict[str, Array], tokens: Tokens, heads: int) -> _Passed:
    p = parameters
    size = p["k"].shape[2]
    earlier_or_same = np.tri(len(tokens), dtype=bool)
    x = p["embedding"][tokens]
    layers = []
    for layer in range(len(p["norm"])):
        norm = _normalize(x)
        h = norm.normed * p["norm"][layer]
        k, v = _rotate(h @ p["k"][layer], 1), h @ p["v"][layer]
        passed_heads = []
        for head in range(heads):
            q = _rotate(h @ p["q"][layer][:, head * size : (head + 1) * size], 1)
            scores = np.where(earlier_or_same, q @ k.T / np.sqrt(size), -np.inf)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            passed_heads.append(_Head(q, weights / weights.sum(axis=1, keepdims=True)))
        attended = np.concatenate([head.weights @ v for head in passed_heads], axis=1)
        gate, up = h @ p["gate"][layer], h @ p["up"][layer]
        layers.append(_Layer(norm, h, k, v, passed_heads, attended, gate, up))
        x = x + attended @ p["o"][layer] + (gate * _sigmoid(gate) * up) @ p["down"][layer]
    final_norm = _normalize(x)
    states = final_norm.normed * p["final_norm"]
    return _Passed(layers, final_norm, states, states @ p["embedding"].T / np.sqrt(p["embedding"].shape[1]))


def _backward(
    p: dict[str, Array], passed: _Passed, tokens: Tokens, heads: int, d_logits: Array, into: dict[str, Array]
) -> None:
    """Adds the gradients of one sequence to `into`."""
    size = p["k"].shape[2]
    d_logits = d_logits / np.sqrt(p["embedding"].shape[1])
    into["embedding"] += d_logits.T @ passed.states
    d_states = d_logits @ p["embedding"]
    into["final_norm"] += np.sum(d_states * passed.final_norm.normed, axis=0)
    dx = _d_normalize(passed.final_norm, d_states * p["final_norm"])
    for layer in reversed(range(len(passed.layers))):
        a = passed.layers[layer]
        sigmoid = _sigmoid(a.gate)
        swish = a.gate * sigmoid
        into["down"][layer] += (swish * a.up).T @ dx
        d_inner = dx @ p["down"][layer].T
        d_up = d_inner * swish
        d_gate = d_inner * a.up * (sigmoid + swish * (1 - sigmoid))
        into["gate"][layer] += a.h.T @ d_gate
        into["up"][layer] += a.h.T @ d_up
        dh = d_gate @ p["gate"][layer].T + d_up @ p["up"][layer].T

        into["o"][layer] += a.attended.T @ dx
        d_attended = dx @ p["o"][layer].T
        dk, dv = np.zeros_like(a.k), np.zeros_like(a.v)
        for number, head in enumerate(a.heads):
            part = slice(number * size, (number + 1) * size)
            d_out = d_attended[:, part]
            dv += head.weights.T @ d_out
            d_weights = d_out @ a.v.T
            d_scores = head.weights * (d_weights - np.sum(d_weights * head.weights, axis=1, keepdims=True))
            dq = _rotate(d_scores @ a.k / np.sqrt(size), -1)
            dk += d_scores.T @ head.q / np.sqrt(size)
            into["q"][layer][:, part] += a.h.T @ dq
            dh += dq @ p["q"][layer][:, part].T
        dk = _rotate(dk, -1)
        into["k"][layer] += a.h.T @ dk
        into["v"][layer] += a.h.T @ dv
        dh += dk @ p["k"][layer].T + dv @ p["v"][layer].T

        into["norm"][layer] += np.sum(dh * a.norm.normed, axis=0)
        dx = dx + _d_normalize(a.norm, dh * p["norm"][layer])
    np.add.at(into["embedding"], tokens, dx)


def _normalize(x: Array) -> _Norm:
    centred = x - x.mean(axis=1, keepdims=True)
    inverse_deviation = 1 / np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + EPSILON)
    return _Norm(centred * inverse_deviation, inverse_deviation)


def _d_normalize(norm: _Norm, d_normed: Array) -> Array:
    along = np.mean(d_normed * norm.normed, axis=1, keepdims=True)
    result: Array = norm.inverse_deviation * (d_normed - d_normed.mean(axis=1, keepdims=True) - norm.normed * along)
    return result


def _rotate(x: Array, direction: int) -> Array:
    """Returns x [T, Q] with components 2i and 2i + 1, as one complex number, rotated by t · 10000^(−2i/Q)."""
    length, size = x.shape
    angles = np.outer(np.arange(length), 10000.0 ** (-np.arange(0, size, 2) / size))
    turned = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * direction * angles)
    return np.stack([turned.real, turned.imag], axis=2).reshape(length, size)


def _sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def _doubles(parameters: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    return {name: np.asarray(array, np.float64) for name, array in parameters.items()}


class Moments(NamedTuple):
    """Holds the moments of one matrix, initially zero."""

    m: Array
    v: Array


def adafactor(
    theta: Array, g: Array, moments: Moments, k: int, learning_rate: float, update_clip: float | None = None
) -> tuple[Array, Moments]:
    """Returns the k-th update, from 1, of one matrix by unfactored Adafactor as PaLM uses it."""
    beta2 = 1 - k**-0.8
    v = beta2 * moments.v + (1 - beta2) * (g**2 + 1e-30)
    direction = g / np.sqrt(v)
    if update_clip is not None:
        direction = direction / max(1.0, rms(direction) / update_clip)
    m = 0.9 * moments.m + 0.1 * learning_rate * max(1e-3, rms(theta)) * direction
    return theta - learning_rate**2 * theta - m, Moments(m, v)


def adamw(
    theta: Array, g: Array, moments: Moments, k: int, learning_rate: float, weight_decay: float, b1: float = 0.9
) -> tuple[Array, Moments]:
    """Returns the update of one matrix by AdamW with β2 0.95 and ε 1e-8."""
    m, v = b1 * moments.m + (1 - b1) * g, 0.95 * moments.v + 0.05 * g**2
    direction = (m / (1 - b1**k)) / (np.sqrt(v / (1 - 0.95**k)) + 1e-8)
    return theta - learning_rate * (direction + weight_decay * theta), Moments(m, v)


def rms(x: Array) -> float:
    """Returns √mean(x²)."""
    return float(np.sqrt(np.mean(x**2)))


def norm(arrays: Mapping[str, npt.ArrayLike]) -> float:
    """Returns the Euclidean norm of all arrays together."""
    return float(np.sqrt(sum(np.sum(np.asarray(array, np.float64) ** 2) for array in arrays.values())))
