"""Compares the mixture of experts with a float64 reference that processes token by token, and tests its routing."""

import itertools
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.model.experts.mixture import mixture
from palmetto.model.experts.router import Routing
from palmetto.model.products import project, project_back
from palmetto.model.tuning import ACCELERATOR, CPU
from palmetto.recipe.model import Experts
from tests.conftest import slow_but
from tests.references.quickly import QUICKLY

pytestmark = pytest.mark.optimized

B, T, D, F, E, TOP = 2, 24, 16, 20, 4, 2
FORMS = (True, False)
"""The values of `unroll`, for a CPU and for an accelerator."""

Layer = dict[str, Any]
seeds = st.integers(0, 2**32 - 1)


def activate(up: jax.Array, gate: jax.Array | None = None) -> jax.Array:
    return jax.nn.gelu(up, approximate=False) if gate is None else jax.nn.swish(gate) * up


def reference_activate(up: np.ndarray, gate: np.ndarray | None) -> np.ndarray:
    if gate is None:
        return up * 0.5 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
    return gate / (1 + np.exp(-gate)) * up


def draw(seed: int, gated: bool = False, experts: int = E) -> tuple[np.ndarray, Layer]:
    """Returns x [B, T, D] and a layer whose router prefers some experts, so that the capacity is exceeded."""
    rng = np.random.default_rng(seed)
    layer = {"router": rng.normal(size=(D, experts)) / 4, "expert_up": rng.normal(size=(experts, D, F)) / 4}
    if gated:
        layer["expert_gate"] = rng.normal(size=(experts, D, F)) / 4
    layer["expert_down"] = rng.normal(size=(experts, D, F)) / 4
    x = rng.normal(size=(B, T, D)) + layer["router"] @ rng.normal(size=experts) * 2
    return x.astype(np.float32), {name: array.astype(np.float32) for name, array in layer.items()}


def reference(x: np.ndarray, layer: Layer, chosen: Experts) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Returns the output, the routing and the kept assignments [B, E] as the papers define them."""
    x, layer = x.astype(np.float64), {name: array.astype(np.float64) for name, array in layer.items()}
    count = chosen.count
    capacity = T
    if chosen.capacity_factor is not None:
        capacity = min(T, math.ceil(chosen.top * T / count * chosen.capacity_factor))
    y, kept, load = np.zeros_like(x), np.zeros((B, count), int), np.zeros(count)
    dropped = entropy = z = balance = 0.0
    for b in range(B):
        first, mean_gate = np.zeros(count), np.zeros(count)
        for t in range(T):
            exponentials = np.exp(x[b, t] @ layer["router"])
            gate = exponentials / exponentials.sum()
            best = np.argsort(-gate, kind="stable")[: chosen.top]
            first[best[0]] += 1 / T
            mean_gate += gate / T
            entropy -= (gate * np.log(gate)).sum() / (B * T)
            z += np.log(exponentials.sum()) ** 2 / (B * T)
            for e in best:
                load[e] += 1 / (B * T * chosen.top)
                if kept[b, e] == capacity:
                    dropped += 1 / (B * T * chosen.top)
                    continue
                kept[b, e] += 1
                gated = x[b, t] @ layer["expert_gate"][e] if "expert_gate" in layer else None
                inner = reference_activate(x[b, t] @ layer["expert_up"][e], gated)
                y[b, t] += gate[e] / sum(gate[i] for i in best) * (layer["expert_down"][e] @ inner)
        balance += count * (first * mean_gate).sum() / B
    routing = {"load": load, "dropped": dropped, "entropy": entropy, "balance": balance, "z": z}
    return y, routing, kept


@cache
def compiled(chosen: Experts, unroll: bool) -> Callable[[Any, Layer], tuple[jax.Array, Routing]]:
    return jax.jit(lambda x, layer: mixture(x, layer, chosen, activate, tuning=CPU if unroll else ACCELERATOR))


@cache
def differentiated(chosen: Experts, unroll: bool) -> Callable[[Any, Layer, Any], tuple[Any, Routing, Any, Layer]]:
    """Returns a function that computes the output, the routing and the gradients of Σ y·d + 2·balance + 3·z."""

    def loss(x: jax.Array, layer: Layer, d: jax.Array) -> tuple[jax.Array, tuple[jax.Array, Routing]]:
        y, routing = mixture(x, layer, chosen, activate, tuning=CPU if unroll else ACCELERATOR)
        return jnp.sum(y.astype(jnp.float32) * d) + 2 * routing.balance + 3 * routing.z, (y, routing)

    @partial(jax.jit, compiler_options=QUICKLY)
    def run(x: jax.Array, layer: Layer, d: jax.Array) -> tuple[Any, Routing, Any, Layer]:
        gradients, results = jax.grad(loss, argnums=(0, 1), has_aux=True)(x, layer, d)
        return *results, *gradients

    return run


def experts(capacity_factor: float | None, count: int = E, top: int = TOP) -> Experts:
    return Experts(count=count, top=top, capacity_factor=capacity_factor)


@pytest.mark.parametrize("unroll", FORMS)
@pytest.mark.parametrize(("capacity_factor", "gated"), [(None, True), (0.75, False)])
def test_output_and_routing_agree_with_the_reference(unroll: bool, capacity_factor: float | None, gated: bool) -> None:
    chosen = experts(capacity_factor)
    x, layer = draw(1, gated)
    y, routing, *_ = differentiated(chosen, unroll)(x, layer, x)
    expected, expected_routing, _ = reference(x, layer, chosen)
    assert (expected_routing["dropped"] > 0) == (capacity_factor is not None), "a capacity should bind"
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    for name, value in expected_routing.items():
        np.testing.assert_allclose(getattr(routing, name), value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("unroll", FORMS)
@pytest.mark.parametrize(("capacity_factor", "gated"), [(None, True), (0.75, False)])
def test_gradients_agree_with_differences_of_the_reference(
    unroll: bool, capacity_factor: float | None, gated: bool
) -> None:
    """Each input is moved along a random direction by a step that changes no assignment."""
    chosen = experts(capacity_factor)
    x, layer = draw(2, gated)
    rng = np.random.default_rng(3)
    d = rng.normal(size=x.shape).astype(np.float32)
    _, _, dx, dlayer = differentiated(chosen, unroll)(x, layer, d)
    inputs: Layer = {"x": x, **layer}
    first = reference(x, layer, chosen)[1]["load"]

    def loss(inputs: Layer) -> float:
        y, routing, _ = reference(inputs["x"], {name: a for name, a in inputs.items() if name != "x"}, chosen)
        np.testing.assert_array_equal(routing["load"], first)
        return float((y * d).sum() + 2 * routing["balance"] + 3 * routing["z"])

    for name, slope in {"x": dx, **dlayer}.items():
        assert slope.dtype == jnp.float32
        direction = rng.normal(size=inputs[name].shape) * 1e-6
        up, below = (loss({**inputs, name: inputs[name] + sign * direction}) for sign in (1, -1))
        expected, size = (up - below) / 2, float(np.linalg.norm(slope) * np.linalg.norm(direction))
        assert abs(float((np.asarray(slope, np.float64) * direction).sum()) - expected) < 1e-4 * size, name


def test_all_algorithms_agree_if_nothing_is_dropped() -> None:
    x, layer = draw(4, gated=True)
    d = np.random.default_rng(5).normal(size=x.shape).astype(np.float32)
    ways = itertools.product((experts(None), experts(E / TOP)), FORMS)
    one, *others = (differentiated(*way)(x, layer, d) for way in ways)
    assert one[1].dropped == 0
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), one, other)


@pytest.mark.parametrize("unroll", FORMS)
def test_a_single_token_agrees_with_the_reference(unroll: bool) -> None:
    """There are fewer rows than in any block, and some experts get no token."""
    x, layer = draw(11)
    d = np.ones((1, 1, D), np.float32)
    y, routing, dx, dlayer = differentiated(experts(None), unroll)(x[:1, :1], layer, d)
    np.testing.assert_allclose(y, reference(x, layer, experts(None))[0][:1, :1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.any(np.asarray(dlayer["expert_up"]) != 0, axis=(1, 2)), routing.load > 0)
    assert np.all(np.isfinite(dx))


@pytest.mark.parametrize(
    ("capacity_factor", "gated", "dtype"), [(None, False, "float32"), (None, True, "bfloat16"), (1.0, True, "float32")]
)
def test_a_single_expert_equals_the_dense_layer(capacity_factor: float | None, gated: bool, dtype: str) -> None:
    drawn, layer = draw(6, gated, experts=1)
    x = jnp.asarray(drawn, dtype)

    @jax.jit
    def dense(x: jax.Array) -> jax.Array:
        kernels = [jnp.asarray(layer[name][0]) for name in ("expert_up", "expert_gate") if name in layer]
        inner = activate(*project(x, tuple(kernels), False))
        return project_back(inner, jnp.asarray(layer["expert_down"][0]), False)

    y, _ = compiled(experts(capacity_factor, count=1, top=1), True)(x, layer)
    assert y.dtype == x.dtype
    # Bitwise on a CPU; a GPU uses different kernels for different shapes.
    np.testing.assert_allclose(y, dense(x), rtol=0 if jax.default_backend() == "cpu" else 1e-4)


@pytest.mark.parametrize("unroll", slow_but([True], FORMS))
@pytest.mark.parametrize("capacity_factor", [None, 0.75])
@settings(max_examples=8)
@given(seed=seeds, cut=st.integers(1, T - 1))
def test_outputs_do_not_depend_on_later_tokens(
    unroll: bool, capacity_factor: float | None, seed: int, cut: int
) -> None:
    """Outputs before the cut are bitwise equal, whatever follows it in either sequence."""
    x, layer = draw(seed)
    changed = x.copy()
    changed[:, cut:] = draw(seed + 1)[0][:, cut:] * 3
    (y, routing), (other, other_routing) = (
        compiled(experts(capacity_factor), unroll)(each, layer) for each in (x, changed)
    )
    np.testing.assert_array_equal(y[:, :cut], other[:, :cut])
    assert routing.entropy != other_routing.entropy


@pytest.mark.parametrize("unroll", slow_but([True], FORMS))
@pytest.mark.parametrize("capacity_factor", [None, 0.75])
@settings(max_examples=5)
@given(seed=seeds)
def test_sequences_do_not_affect_each_other(unroll: bool, capacity_factor: float | None, seed: int) -> None:
    x, layer = draw(seed)
    run = compiled(experts(capacity_factor), unroll)
    y, routing = run(x, layer)
    alone, routings = zip(*(run(x[b : b + 1], layer) for b in range(B)), strict=True)
    np.testing.assert_allclose(y, np.concatenate(alone), rtol=1e-4, atol=1e-5)
    for together, *each in zip(routing, *routings, strict=True):
        np.testing.assert_allclose(together, np.mean(each, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("unroll", FORMS)
@settings(max_examples=5)
@given(seed=seeds, order=st.permutations(range(E)))
def test_the_order_of_experts_does_not_matter(unroll: bool, seed: int, order: list[int]) -> None:
    x, layer = draw(seed)
    shuffled = {name: array[..., order] if name == "router" else array[order] for name, array in layer.items()}
    run = compiled(experts(0.75), unroll)
    (y, routing), (other, other_routing) = run(x, layer), run(x, shuffled)
    np.testing.assert_allclose(y, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(routing.load[jnp.array(order)], other_routing.load, rtol=1e-6)
    for name in ("dropped", "entropy", "balance", "z"):
        np.testing.assert_allclose(getattr(routing, name), getattr(other_routing, name), rtol=1e-5)


@pytest.mark.parametrize("unroll", FORMS)
@pytest.mark.parametrize("capacity_factor", [0.01, E / TOP])
@settings(max_examples=8)
@given(seed=seeds)
def test_each_expert_keeps_its_first_assignments_up_to_capacity(
    unroll: bool, capacity_factor: float, seed: int
) -> None:
    """Each expert writes 1 into its own column, which shows the tokens that it processed."""
    chosen = experts(capacity_factor)
    x, layer = draw(seed)
    layer["expert_down"] = np.repeat(np.eye(E, D, dtype=np.float32)[..., None], F, axis=2) / F
    capacity = min(T, math.ceil(TOP * T / E * capacity_factor))
    y, routing = _marked(chosen, unroll)(x, layer)
    kept = np.sum(np.asarray(y)[..., :E] > 0, axis=1)
    assert kept.max() <= capacity
    np.testing.assert_array_equal(kept, reference(x, layer, chosen)[2])
    np.testing.assert_allclose(routing.dropped, 1 - kept.sum() / (B * T * TOP), atol=1e-6)
    np.testing.assert_allclose(np.sum(routing.load), 1, rtol=1e-6)
    if capacity_factor >= E / TOP:
        assert routing.dropped == 0
        np.testing.assert_allclose(np.sum(y, axis=-1), 1, rtol=1e-5)


@cache
def _marked(chosen: Experts, unroll: bool) -> Callable[[Any, Layer], tuple[jax.Array, Routing]]:
    return jax.jit(
        lambda x, layer: mixture(
            x, layer, chosen, lambda up, _: jnp.ones_like(up), tuning=CPU if unroll else ACCELERATOR
        ),
        compiler_options=QUICKLY,
    )


@pytest.mark.parametrize("unroll", FORMS)
def test_ties_go_to_the_lower_expert(unroll: bool) -> None:
    x, layer = draw(7)
    layer["router"] = np.zeros_like(layer["router"])
    y, routing = compiled(experts(None), unroll)(x, layer)
    np.testing.assert_array_equal(routing.load, [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(routing.entropy, math.log(E), rtol=1e-6)
    np.testing.assert_allclose(routing.balance, 1, rtol=1e-6)
    both = [jnp.asarray(activate(x @ layer["expert_up"][e])) @ layer["expert_down"][e].T for e in (0, 1)]
    np.testing.assert_allclose(y, (both[0] + both[1]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("capacity_factor", "dtype", "unroll"),
    [(None, "bfloat16", True), (0.75, "float16", False), (None, "bfloat16", False)],
)
def test_half_precision_has_the_promised_dtypes_and_accuracy(
    capacity_factor: float | None, dtype: str, unroll: bool
) -> None:
    """Outputs and dx have the dtype of x, kernel gradients are float32, and all are close to the float32 results."""
    chosen = experts(capacity_factor)
    x, layer = draw(8, gated=capacity_factor is None)
    half = jnp.asarray(x, dtype)
    d = np.random.default_rng(9).normal(size=x.shape).astype(np.float32)
    y, routing, dx, dlayer = differentiated(chosen, unroll)(half, layer, d)
    assert y.dtype == dx.dtype == half.dtype
    assert {value.dtype for value in (*routing, *dlayer.values())} == {jnp.dtype("float32")}
    expected, _, *gradients = differentiated(chosen, unroll)(np.asarray(half, np.float32), layer, d)
    for a, b in zip(jax.tree.leaves((y, dx, dlayer)), jax.tree.leaves((expected, gradients)), strict=True):
        assert np.linalg.norm(np.asarray(a, np.float32) - b) < 0.03 * np.linalg.norm(b)


@pytest.mark.parametrize("unroll", FORMS)
@pytest.mark.parametrize("capacity_factor", [None, 0.75])
def test_the_gradient_has_no_scatter_with_colliding_indices(unroll: bool, capacity_factor: float | None) -> None:
    """The order of such a sum, and so its bits, would be undefined on a GPU."""
    x, layer = draw(10)
    run: Any = differentiated(experts(capacity_factor), unroll)
    program = str(run.trace(x, layer, x).jaxpr)
    assert "top_k" in program
    assert "scatter-add" not in program
    assert "scatter_add" not in program
