"""Tests that weights are arranged as their rows say, and that no other code decides by a weight's name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import palmetto
from palmetto.model.layout import arrange, arranged_table, map_named
from palmetto.model.tuning import ACCELERATOR, CPU, Tuning
from palmetto.model.weights import weight_table
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model
from tests.model.test_weights import ADDED

SOURCE = Path(palmetto.__file__).parent
VOCABULARY = 5
PLAIN = {"layers": 2, "d_model": 8, "heads": 2, "block": "serial"}
MODELS = {choice: Model.model_validate(PLAIN | values) for choice, (values, _) in ADDED.items()}
NAMES = {
    name
    for model in MODELS.values()
    for stored in [weight_table(model, VOCABULARY)]
    for name in stored.keys() | arranged_table(stored, ONE_DEVICE).keys()
}


@pytest.mark.parametrize("tuning", [CPU, ACCELERATOR], ids=lambda tuning: tuning.platform)
@pytest.mark.parametrize("mesh", [ONE_DEVICE, Mesh(model=2)], ids=["whole layers", "divided layers"])
@pytest.mark.parametrize("choice", MODELS)
def test_arranged_rows_have_the_shapes_of_arranged_arrays(choice: str, mesh: Mesh, tuning: Tuning) -> None:
    model, shapes = MODELS[choice], dict[str, tuple[int, ...]]()
    stored = weight_table(model, VOCABULARY)
    empty = {name: jax.ShapeDtypeStruct(row.shape, jnp.float32) for name, row in stored.items()}

    def note(name: str, array: jax.Array) -> jax.Array:
        shapes[name] = array.shape
        return array

    map_named(note, jax.eval_shape(lambda parameters: arrange(parameters, model, tuning, mesh), empty))
    rows = arranged_table(stored, mesh)
    assert shapes.keys() == rows.keys()
    for name, row in rows.items():
        assert shapes[name][-len(row.shape) :] == row.shape, name
        assert len(row.axes) == len(row.shape), name


def test_only_divisible_weights_are_sent_in_the_activation_type() -> None:
    for model in MODELS.values():
        for name, row in arranged_table(weight_table(model, VOCABULARY), ONE_DEVICE).items():
            assert row.data_dimension is not None or not row.cast, name


def name_tests(tree: ast.AST) -> Iterator[ast.AST]:
    """Returns the places in a source that compare a weight's name or list several names."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="startswith" | "removeprefix"), args=[ast.Constant(str(part))]):
                if any(name.startswith(part) for name in NAMES):
                    yield node
            case ast.Call(func=ast.Attribute(attr="endswith" | "removesuffix"), args=[ast.Constant(str(part))]):
                if any(name.endswith(part) for name in NAMES):
                    yield node
            case ast.Compare(left=ast.Constant(str(part)), comparators=[ast.Name(id)]) if id.endswith("name"):
                if any(part in name for name in NAMES):
                    yield node
            case ast.Compare(left=ast.Name(id), comparators=[ast.Constant(str(part))]) if id.endswith("name"):
                if part in NAMES:
                    yield node
            case ast.Compare(left=ast.Constant(part), ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id)]):
                if part in NAMES and id in ("layer", "ends", "weights", "parameters"):
                    yield node
            case ast.Tuple(elts) | ast.List(elts) | ast.Set(elts) if len(elts) > 1:
                if all(isinstance(element, ast.Constant) and element.value in NAMES for element in elts):
                    yield node


@pytest.mark.parametrize(
    "code",
    [
        "name.startswith('expert_')",
        "'norm' in name",
        "name == 'router'",
        "'router' in layer",
        "name in ('k', 'v')",
        "for n in ['up', 'o']: 0",
    ],
)
def test_a_comparison_of_names_is_recognized(code: str) -> None:
    assert list(name_tests(ast.parse(code)))


def test_only_the_table_of_weights_decides_by_name() -> None:
    rooms = ("model", "parallel", "training", "pods", "decoding", "evaluation")
    files = [file for room in rooms for file in (SOURCE / room).rglob("*.py")]
    found = [
        f"{file.relative_to(SOURCE)}: {ast.unparse(node)}"
        for file in files
        if file != SOURCE / "model" / "weights.py"
        for node in name_tests(ast.parse(file.read_text()))
    ]
    assert found == []
