"""Tests that the tables of targets hold every weight of a model, and give each back bit for bit."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.interop import catalogue, forms, llamacpp, logical
from palmetto.interop.architectures import palmetto
from palmetto.interop.forms import Array
from palmetto.interop.rows import Row, matrices, tensors
from palmetto.model.weights import Table, unstack, weight_table
from tests.references import exported
from tests.references.draws import draw_case
from tests.references.exported import KINDS

VOCABULARY = 7


def there(rows: list[Row], table: Table, values: dict[str, Array]) -> dict[str, Array]:
    """Returns a target's tensors of logical matrices."""
    return {t.name: t.form.there([values[name] for name in t.matrices]) for t in tensors(rows, table)}


def drawn(table: Table) -> dict[str, Array]:
    return {name: np.asarray(matrix) for name, matrix in unstack(exported.draw(table, 1), table).items()}


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_give_the_weights_back(kind: str) -> None:
    recipe = exported.of_kind(kind)
    architecture, table = catalogue.choose(recipe), weight_table(recipe.model, VOCABULARY)
    assert architecture.name == KINDS[kind][0]
    rows, values = list(architecture.rows(recipe.model)), drawn(table)
    found = there(rows, table, values)
    assert {t.name: t.shape for t in tensors(rows, table)} == {name: array.shape for name, array in found.items()}
    again = matrices(rows, table, found)
    assert again.keys() == values.keys()
    # Only the last norm of a tied embedding is multiplied by a number, 1/√32.
    computed = {name for name in values if not np.array_equal(again[name], values[name])}
    assert computed <= {"final_norm", "final_norm_bias"}
    assert all(np.allclose(again[name], values[name], rtol=1e-7) for name in computed)


@pytest.mark.parametrize("kind", ["PaLM", "Llama", "Mixtral", "GPT-2", "BLOOM"])
def test_tensors_of_llama_cpp_give_the_weights_back(kind: str) -> None:
    recipe = exported.of_kind(kind)
    rows, table = list(llamacpp.choose(recipe).rows(recipe.model)), weight_table(recipe.model, VOCABULARY)
    values = drawn(table)
    again = matrices(rows, table, there(rows, table, values))
    assert again.keys() == values.keys()
    assert all(np.allclose(again[name], values[name], rtol=1e-7) for name in values)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_our_own_names_hold_every_weight(seed: int) -> None:
    model = draw_case(random.Random(seed).choice).recipe.model
    table = weight_table(model, VOCABULARY)
    values = {name: np.zeros(matrix.shape, np.float32) + n for n, (name, matrix) in enumerate(drawn(table).items())}
    for rows in (logical.rows(table), palmetto.rows(model)):
        again = matrices(rows, table, there(rows, table, values))
        assert {name: array.flat[0] for name, array in again.items()} == {
            name: array.flat[0] for name, array in values.items()
        }


def test_tensors_that_do_not_fit_are_named() -> None:
    table = weight_table(exported.recipe({}).model, VOCABULARY)
    found = there(logical.rows(table), table, drawn(table))
    lacking = {name: array for name, array in found.items() if name != "q.001"}
    for altered, message in (
        (lacking, "q.001: no such tensor"),
        (found | {"z": found["q.000"]}, "z: a tensor for which the model has no place"),
        (found | {"q.000": found["k.000"]}, r"q.000: of shape \[32, 16\]; expected \[32, 32\]"),
    ):
        with pytest.raises(UserError, match=message):
            matrices(logical.rows(table), table, altered)


def test_heads_that_differ_cannot_share_a_scale() -> None:
    scale = forms.repeated(2).there([np.arange(3.0)])
    assert np.array_equal(forms.repeated(2).back(scale)[0], np.arange(3.0))
    with pytest.raises(UserError, match="the scale differs between heads"):
        forms.repeated(2).back(scale + np.array([[0.0], [1.0]]))


def test_pairs_are_split_into_halves() -> None:
    assert forms.halves(4).there([np.array([0, 1, 2, 3, 10, 11, 12, 13])]).tolist() == [0, 2, 1, 3, 10, 12, 11, 13]


def test_parts_are_joined_head_by_head() -> None:
    parts = [np.array([0, 1, 2, 3]), np.array([10, 11, 12, 13]), np.array([20, 21, 22, 23])]
    form = forms.by_head(2, forms.AS_IS, forms.AS_IS, forms.AS_IS)
    assert form.there(parts).tolist() == [0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23]
    assert [part.tolist() for part in form.back(form.there(parts))] == [part.tolist() for part in parts]
