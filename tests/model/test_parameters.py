"""The table of parameters: the paper's counts and initial distributions, and logical matrices in and out of stacks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model import parameters
from palmetto.model.parameters import Parameters
from palmetto.recipe import Model

MODEL = Model(layers=3, d_model=64, heads=3, head_size=16, d_ff=160)
VOCABULARY = 256


@pytest.mark.parametrize(
    ("layers", "d_model", "heads", "expected"),
    [(32, 4096, 16, 8_632_012_800), (64, 8192, 32, 62_495_662_080), (118, 18432, 48, 540_356_474_880)],
    ids=["8B", "62B", "540B"],
)
def test_counts_of_the_papers_models_to_the_digit(layers: int, d_model: int, heads: int, expected: int) -> None:
    model = Model(layers=layers, d_model=d_model, heads=heads, head_size=256)
    assert parameters.count(model, 256_000) == expected


@pytest.fixture(scope="module")
def drawn() -> Parameters:
    return parameters.initialize(MODEL, VOCABULARY, seed=1)


def test_initialization_has_the_shapes_of_the_table_in_float32(drawn: Parameters) -> None:
    table = parameters.specifications(MODEL, VOCABULARY)
    assert {name: array.shape for name, array in drawn.items()} == {name: s.shape for name, s in table.items()}
    assert {array.dtype for array in drawn.values()} == {jnp.dtype(jnp.float32)}
    assert all(len(s.axes) == len(s.shape) for s in table.values())
    assert parameters.count(MODEL, VOCABULARY) == sum(array.size for array in drawn.values())


def test_initial_kernels_are_normal_with_deviation_one_over_root_of_inputs_embeddings_one(drawn: Parameters) -> None:
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


def test_every_logical_matrix_has_a_draw_of_its_own(drawn: Parameters) -> None:
    matrices = parameters.unstack(drawn, frozenset(drawn) - {"embedding", "final_norm"})
    kernels = {name: np.asarray(matrix).ravel() for name, matrix in matrices.items() if "norm" not in name}
    names = sorted(kernels)
    for i, one in enumerate(names):
        for other in names[:i]:
            shared = min(kernels[one].size, kernels[other].size)
            correlation = np.corrcoef(kernels[one][:shared], kernels[other][:shared])[0, 1]
            assert abs(correlation) < 6 / math.sqrt(shared), (one, other)


def test_a_further_layer_moves_no_other_draw(drawn: Parameters) -> None:
    deeper = parameters.initialize(MODEL.model_copy(update={"layers": 4}), VOCABULARY, seed=1)
    for name, array in drawn.items():
        there = np.asarray(deeper[name])
        assert np.array_equal(array, there if there.shape == array.shape else there[:3]), name


def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"embedding": parameters.Specification((4, 3), ("vocabulary", "width"), 1.0)}
    monkeypatch.setattr(parameters, "specifications", lambda model, vocabulary_size: small)
    one, again, other = (parameters.initialize(MODEL, VOCABULARY, seed)["embedding"] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.any(one == other)


STACKED = frozenset({"norm", "q"})


def stack(layers: int) -> Parameters:
    numbers = jnp.arange(layers * 6, dtype=jnp.float32)
    return {
        "embedding": jnp.ones((4, 3)),
        "norm": numbers[: layers * 3].reshape(layers, 3),
        "q": numbers.reshape(layers, 3, 2),
    }


def test_unstack_names_each_layers_matrix() -> None:
    matrices = parameters.unstack(stack(2), STACKED)
    assert sorted(matrices) == ["embedding", "norm.000", "norm.001", "q.000", "q.001"]
    assert np.array_equal(matrices["q.001"], [[6, 7], [8, 9], [10, 11]])
    assert np.array_equal(matrices["norm.000"], [0, 1, 2])


@pytest.mark.parametrize(
    "layers",
    [
        *(1, 12, 118),
        1001,
    ],
)
def test_restack_is_the_inverse_of_unstack(layers: int) -> None:
    whole = stack(layers)
    again = jax.jit(lambda p: parameters.restack(parameters.unstack(p, STACKED)))(whole)
    assert {name: array.shape for name, array in again.items()} == {n: a.shape for n, a in whole.items()}
    for name, array in whole.items():
        assert np.array_equal(array, again[name]), name


def test_unstacked_matrices_outlive_a_donated_stack() -> None:
    whole = stack(2)
    matrices = parameters.unstack(whole, STACKED)
    for array in whole.values():
        array.delete()
    assert np.array_equal(matrices["embedding"], np.ones((4, 3)))
    assert np.array_equal(matrices["norm.001"], [3, 4, 5])
