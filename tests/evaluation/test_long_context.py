"""Tests losses by position beyond the trained length."""

from pathlib import Path

import jax
import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.evaluation.long_context import Curve, Text, Tuned, Way, measure, ways
from palmetto.model import layout, tuning
from palmetto.model import weights as parameters
from palmetto.recipe import Recipe
from palmetto.tokens import store
from palmetto.training.step.loss import Batch, token_losses
from tests.conftest import RecipeMaker

VOCABULARY = 300


@pytest.fixture
def held_out(tmp_path: Path) -> Text:
    """Returns 200 tokens from a store."""
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 200)
    store.write(
        tmp_path / "validation.bin",
        [tokens],
        vocabulary_size=VOCABULARY,
        sequence_length=8,
        documents=1,
        vocabulary_digest="",
        source_fingerprint="",
    )
    return Text("validation.bin", 200, store.TokenStore.open(tmp_path / "validation.bin").stretch)


def recipe(tiny_recipe: RecipeMaker, *overrides: str) -> Recipe:
    small = ("tokens.sequence_length=8", f"tokens.vocabulary_size={VOCABULARY}", "model.layers=2")
    return tiny_recipe(*small, *overrides)


@pytest.mark.slow
def test_every_change_gives_the_loss_of_its_model(tiny_recipe: RecipeMaker, held_out: Text) -> None:
    """The training loss computes the same values by other code."""
    chosen = recipe(tiny_recipe)
    drawn = parameters.initialize(chosen.model, VOCABULARY, 1)
    said: list[str] = []
    curves = measure(chosen, drawn, held_out, 3, 2, said.append)
    assert len(said) == len(curves) == 9
    windows = np.stack([held_out.stretch(i * 24, i * 24 + 25) for i in range(2)]).astype(np.int32)
    for curve in curves:
        assert curve.losses.shape == (24,)

        def loss(way: Way = curve.way) -> jax.Array:
            arranged = layout.arrange(drawn, way.model, tuning.CPU)
            return token_losses(arranged, Batch(jax.numpy.asarray(windows)), way.model, tuning.CPU).cross_entropy

        assert np.mean(curve.losses) == pytest.approx(float(jax.jit(loss)()), rel=1e-5), curve.way.name


@pytest.mark.slow
def test_windows_change_no_loss_within_the_trained_length(tiny_recipe: RecipeMaker, held_out: Text) -> None:
    chosen = recipe(tiny_recipe)
    curves = measure(chosen, parameters.initialize(chosen.model, VOCABULARY, 1), held_out, 3, 2, lambda text: None)
    by_name = {curve.way.name: curve for curve in curves}
    plain = by_name["as trained"].losses
    # Λ-shaped attention caps the distance of its sinks at its window of 4.
    for name, same in (("local window", 8), ("Λ-shaped window", 5), ("external memory", 8)):
        assert_same(by_name[name], plain, slice(0, same))
        assert np.abs(by_name[name].losses - plain)[9:].max() > 1e-4, f"{name} changes what is beyond"
    assert_same(by_name["parallel windows"], plain, slice(0, 4))
    assert np.abs(by_name["interpolation"].losses - plain)[1:8].max() > 1e-5, "interpolation changes all positions"


@pytest.mark.slow
def test_a_run_that_was_trained_further_is_measured_beside(tiny_recipe: RecipeMaker, held_out: Text) -> None:
    chosen, longer = recipe(tiny_recipe), recipe(tiny_recipe, "tokens.sequence_length=24", "model.positions.base=4e4")
    drawn, tuned = (parameters.initialize(each.model, VOCABULARY, n) for n, each in enumerate((chosen, longer)))
    *_, last = measure(chosen, drawn, held_out, 3, 2, lambda text: None, [Tuned("longer", longer, tuned)])
    assert last.way[::2] == ("longer", "trained further, 8 steps on sequences of 24")
    first, *_ = measure(longer, tuned, held_out, 1, 2, lambda text: None)
    assert_same(last, first.losses, slice(0, 24))


def assert_same(curve: Curve, losses: np.ndarray, where: slice) -> None:
    np.testing.assert_allclose(curve.losses[where], losses[where], rtol=1e-5, err_msg=curve.way.name)


@pytest.mark.parametrize(
    ("positions", "count"),
    [("{name: alibi}", 4), ("{name: t5}", 3), ("{name: transformer_xl}", 3), ("{name: sinusoidal}", 5)],
)
def test_changes_depend_on_the_positions(tiny_recipe: RecipeMaker, positions: str, count: int) -> None:
    assert len(ways(recipe(tiny_recipe, f"model.positions={positions}"), 4)) == count


def test_models_of_fixed_length_are_refused(tiny_recipe: RecipeMaker, held_out: Text) -> None:
    with pytest.raises(UserError, match=r"model\.positions\.name=learned: no position beyond"):
        ways(recipe(tiny_recipe, "model.positions={name: learned, length: 8}"), 4)
    with pytest.raises(UserError, match=r"training\.objective\.name=prefix: expected causal"):
        ways(recipe(tiny_recipe, "training.objective={name: prefix}"), 4)
    with pytest.raises(UserError, match=r"holds 200 tokens, less than 8 · 25"):
        measure(recipe(tiny_recipe), {}, held_out, 25, 1, lambda text: None)
