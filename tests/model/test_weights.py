"""Tests the table of weights: the papers' parameter counts, initial distributions and stacks of logical matrices."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model import weights as parameters
from palmetto.model.positions.transformer_xl import TransformerXLPositions
from palmetto.model.weights import Parameters
from palmetto.recipe.model import Experts, Model
from tests.conftest import slow_but

MODEL = Model(layers=3, d_model=64, heads=3, head_size=16, d_ff=160)
VOCABULARY = 256


@pytest.mark.parametrize(
    ("layers", "d_model", "heads", "expected"),
    [(32, 4096, 16, 8_632_012_800), (64, 8192, 32, 62_495_662_080), (118, 18432, 48, 540_356_474_880)],
    ids=["8B", "62B", "540B"],
)
def test_parameter_counts_are_those_of_the_papers(layers: int, d_model: int, heads: int, expected: int) -> None:
    model = Model(layers=layers, d_model=d_model, heads=heads, head_size=256)
    assert parameters.count(model, 256_000) == expected


@pytest.fixture(scope="module")
def drawn() -> Parameters:
    return parameters.initialize(MODEL, VOCABULARY, seed=1)


def test_initial_parameters_have_the_shapes_of_the_table(drawn: Parameters) -> None:
    table = parameters.weight_table(MODEL, VOCABULARY)
    assert {name: array.shape for name, array in drawn.items()} == {name: s.shape for name, s in table.items()}
    assert {array.dtype for array in drawn.values()} == {jnp.dtype(jnp.float32)}
    assert all(len(s.axes) == len(s.shape) for s in table.values())
    assert parameters.count(MODEL, VOCABULARY) == sum(array.size for array in drawn.values())


def test_initial_kernels_are_normal_with_the_expected_deviation(drawn: Parameters) -> None:
    inputs = {"embedding": 1, "q": 64, "k": 64, "v": 64, "gate": 64, "up": 64, "o": 3 * 16, "down": 160}
    for name, n_in in inputs.items():
        standardized = np.asarray(drawn[name], np.float64).ravel() * math.sqrt(n_in)
        n = standardized.size
        assert abs(standardized.mean()) < 5 / math.sqrt(n), name
        assert abs(standardized.std() - 1) < 5 / math.sqrt(2 * n), name
        within = np.mean(np.abs(standardized) < 1)
        assert abs(within - 0.682689) < 5 * math.sqrt(0.6827 * 0.3173 / n), name
        assert np.abs(standardized).max() > 2.6, f"{name} is truncated"


def test_initial_scales_are_one(drawn: Parameters) -> None:
    assert np.all(np.asarray(drawn["norm"]) == 1)
    assert np.all(np.asarray(drawn["final_norm"]) == 1)


def test_every_logical_matrix_is_drawn_independently(drawn: Parameters) -> None:
    matrices = parameters.unstack(drawn, parameters.weight_table(MODEL, VOCABULARY))
    kernels = {name: np.asarray(matrix).ravel() for name, matrix in matrices.items() if "norm" not in name}
    names = sorted(kernels)
    for i, one in enumerate(names):
        for other in names[:i]:
            shared = min(kernels[one].size, kernels[other].size)
            correlation = np.corrcoef(kernels[one][:shared], kernels[other][:shared])[0, 1]
            assert abs(correlation) < 6 / math.sqrt(shared), (one, other)


def test_another_layer_changes_no_other_draw(drawn: Parameters) -> None:
    deeper = parameters.initialize(MODEL.model_copy(update={"layers": 4}), VOCABULARY, seed=1)
    for name, array in drawn.items():
        there = np.asarray(deeper[name])
        assert np.array_equal(array, there if there.shape == array.shape else there[:3]), name


def test_the_seed_determines_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"embedding": parameters.Weight((4, 3), ("vocabulary", "width"), 1.0)}
    monkeypatch.setattr(parameters, "weight_table", lambda model, vocabulary_size: small)
    one, again, other = (parameters.initialize(MODEL, VOCABULARY, seed)["embedding"] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.any(one == other)


def test_initial_biases_are_zero_and_scales_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(
        layers=2,
        d_model=8,
        heads=2,
        block="serial",
        norm_position="sandwich",
        norm_bias=True,
        biases=True,
        embedding_norm=True,
        qk_norm=True,
        positions=TransformerXLPositions(),
    )
    table = parameters.weight_table(model, 5)
    zero = {name for name in table if name.endswith("_bias")} | {"u", "w"}
    one = {name for name in table if "norm" in name} - zero
    assert {name for name, of in table.items() if of.deviation == 0} == zero
    assert {name for name, of in table.items() if of.deviation is None} == one
    monkeypatch.setattr(parameters, "weight_table", lambda *_: {name: table[name] for name in zero | one})
    for name, array in parameters.initialize(model, 5, seed=0).items():
        assert np.all(np.asarray(array) == (name in one)), name


EXPERTS = Experts(count=8, feedforward="gelu", d_ff=24)
MIXTURE = Model(layers=4, d_model=16, heads=2, feedforward="geglu", experts=EXPERTS)


def with_experts(**values: int) -> Model:
    return MIXTURE.model_copy(update={"experts": EXPERTS.model_copy(update=values)})


def test_experts_and_dense_layers_alternate() -> None:
    table = parameters.weight_table(MIXTURE, 10)
    assert table["router"].shape == (2, 16, 8)
    assert table["expert_up"].shape == (2, 8, 16, 24)
    assert table["expert_down"].shape == (2, 8, 24, 16)
    assert table["up"].shape == (2, 16, 64)
    assert "expert_gate" not in table
    assert (table["gate"].layers, table["router"].layers) == ((0, 2), (1, 3))
    assert {name: of.stack for name, of in table.items() if of.stack != 1} == {
        "embedding": 0,
        "final_norm": 0,
        "expert_up": 2,
        "expert_down": 2,
    }


def test_experts_are_drawn_independently_of_each_other_and_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = parameters.weight_table
    monkeypatch.setattr(parameters, "weight_table", lambda *_: {"expert_down": full(*_)["expert_down"]})
    drawn = np.asarray(parameters.initialize(MIXTURE, 10, seed=3)["expert_down"], np.float64)
    standardized = drawn.ravel() * math.sqrt(24)
    assert abs(standardized.std() - 1) < 5 / math.sqrt(2 * standardized.size)
    experts = drawn.reshape(16, -1)
    correlations = np.corrcoef(experts) - np.eye(16)
    assert np.abs(correlations).max() < 6 / math.sqrt(experts.shape[1])
    more = with_experts(count=9).model_copy(update={"layers": 6})
    there = parameters.initialize(more, 10, seed=3)["expert_down"]
    assert there.shape == (3, 9, 24, 16)
    assert np.array_equal(drawn, there[:2, :8])


def test_deep_norm_shrinks_kernels_that_write_to_the_residual() -> None:
    shapes = Model(layers=32, d_model=16, heads=2, block="serial", feedforward="geglu")
    usual, deep = (
        parameters.weight_table(shapes.model_copy(update={"norm_position": position}), 10)
        for position in ("pre", "deep")
    )
    ratio = {name: (of.deviation or 1) / (usual[name].deviation or 1) for name, of in deep.items()}
    shrunk = (8 * 32) ** -0.25
    assert shrunk == 0.25
    assert {name for name, r in ratio.items() if r == pytest.approx(shrunk)} == {"v", "o", "gate", "up", "down"}
    assert {name for name, r in ratio.items() if r == 1} == ratio.keys() - {"v", "o", "gate", "up", "down"}
    assert "final_norm" not in deep


# The parameters that each choice adds to a serial decoder: L = 2, D = 8, H = 2, K = 1, Q = 4, F = 32, V = 5.
SERIAL = 5 * 8 + 2 * (2 * 8 + 8 * 8 + 2 * 8 * 4 + 8 * 8 + 2 * 8 * 32) + 8
ADDED: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 0),
    "parallel": ({"block": "parallel"}, -2 * 8),
    "heads": ({"key_value_heads": 2}, 2 * 2 * 8 * 4),
    "sandwich": ({"norm_position": "sandwich"}, 2 * 2 * 8),
    "post": ({"norm_position": "post"}, -8),
    "norm biases": ({"norm_bias": True}, 5 * 8),
    "query and key norms": ({"qk_norm": True}, 2 * 2 * 4),
    "embedding norm": ({"embedding_norm": True}, 8),
    "biases": ({"biases": True}, 2 * (8 + 4 + 4 + 8 + 32 + 8)),
    "untied": ({"tied_embedding": False}, 8 * 5),
    "gated": ({"feedforward": "swiglu"}, 2 * 8 * 32),
    "alibi": ({"positions": {"name": "alibi"}}, 0),
    "t5": ({"positions": {"name": "t5", "buckets": 6}}, 2 * 6 * 2),
    "transformer_xl": ({"positions": {"name": "transformer_xl"}}, 2 * (8 * 8 + 2 * 2 * 4)),
    "learned": ({"positions": {"name": "learned", "length": 7}}, 7 * 8),
    "sinusoidal": ({"positions": {"name": "sinusoidal"}}, 0),
    "experts": ({"experts": {"count": 3, "d_ff": 10}}, -2 * 8 * 32 + 3 * 2 * 8 * 10 + 8 * 3),
    "gated experts": ({"experts": {"count": 3, "feedforward": "glu"}}, -2 * 8 * 32 + 3 * 3 * 8 * 32 + 8 * 3),
}


@pytest.mark.parametrize("choice", ADDED)
def test_each_choice_adds_the_expected_parameters(choice: str) -> None:
    values, added = ADDED[choice]
    plain = {"layers": 2, "d_model": 8, "heads": 2, "block": "serial", "feedforward": "gelu"}
    model = Model.model_validate(plain | values)
    assert parameters.count(model, 5) == SERIAL + added
    drawn = jax.eval_shape(lambda: parameters.initialize(model, 5, seed=0))
    assert {name: array.shape for name, array in drawn.items()} == {
        name: of.shape for name, of in parameters.weight_table(model, 5).items()
    }


def test_active_parameters_include_only_the_top_experts() -> None:
    for top in (1, 2, 3, 8):
        model = with_experts(top=top)
        idle = 2 * (8 - top) * 2 * 16 * 24
        assert parameters.active(model, 10) == parameters.count(model, 10) - idle
    assert parameters.active(MODEL, VOCABULARY) == parameters.count(MODEL, VOCABULARY)


def table(layers: tuple[int, ...], experts: int = 1) -> parameters.Table:
    of = parameters.Weight
    depth = len(layers)
    return {
        "embedding": of((4, 3), ("vocabulary", "width"), 1.0),
        "norm": of((depth, 3), ("layers", "width"), None, layers),
        "q": of((depth, 3, 2), ("layers", "width", "heads"), 1.0, layers),
        "expert_up": of((depth, experts, 3, 2), ("layers", "experts", "width", "feedforward"), 1.0, layers),
    }


def stacks(of: parameters.Table) -> Parameters:
    return {name: jnp.arange(spec.size, dtype=jnp.float32).reshape(spec.shape) for name, spec in of.items()}


def test_unstack_names_each_matrix_by_layer_and_expert() -> None:
    of = table((1, 3), experts=2)
    matrices = parameters.unstack(stacks(of), of)
    assert sorted(matrices) == [
        "embedding",
        *(f"expert_up.{layer}.{expert}" for layer in ("001", "003") for expert in ("000", "001")),
        *("norm.001", "norm.003", "q.001", "q.003"),
    ]
    assert np.array_equal(matrices["q.003"], [[6, 7], [8, 9], [10, 11]])
    assert np.array_equal(matrices["norm.001"], [0, 1, 2])
    assert np.array_equal(matrices["expert_up.003.000"], [[12, 13], [14, 15], [16, 17]])


@pytest.mark.parametrize(("layers", "experts"), slow_but([(1, 1), (12, 3)], [(1, 1), (12, 3), (118, 1), (1, 1001)]))
def test_restack_is_the_inverse_of_unstack(layers: int, experts: int) -> None:
    of = table(tuple(range(1, 2 * layers, 2)), experts)
    if experts > 1000:  # expert numbers of four digits
        of = {"expert_up": of["expert_up"]}
    whole = stacks(of)
    again = parameters.restack(parameters.unstack(whole, of), of)
    assert {name: array.shape for name, array in again.items()} == {n: a.shape for n, a in whole.items()}
    for name, array in whole.items():
        assert np.array_equal(array, again[name]), name


def test_restack_accepts_partial_tables_and_other_trailing_axes() -> None:
    of = table((1, 3), experts=2)
    rows = {"expert_up": jnp.arange(2 * 2 * 3.0).reshape(2, 2, 3), "q": jnp.arange(2 * 3.0).reshape(2, 3)}
    matrices = parameters.unstack(rows, of)
    assert matrices["expert_up.001.001"].shape == (3,)
    for name, array in parameters.restack(matrices, of).items():
        assert np.array_equal(array, rows[name]), name


def test_unstacked_matrices_outlive_a_donated_stack() -> None:
    of = table((0, 1))
    whole = stacks(of)
    matrices = parameters.unstack(whole, of)
    for array in whole.values():
        array.delete()
    assert np.array_equal(matrices["embedding"], np.arange(12).reshape(4, 3))
    assert np.array_equal(matrices["norm.001"], [3, 4, 5])
