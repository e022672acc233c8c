"""The loss of preferences and its gradient agree with float64, and rows give the same margins beside any others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model import layout, tuning
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model
from palmetto.training.step.loss import Batch, Losses, token_losses
from palmetto.training.step.reference import make_margins
from tests.model.test_catalogue import some
from tests.references import catalogue
from tests.references.quickly import QUICKLY
from tests.references.spread import VOCABULARY, make_recipe, on

MODEL: Model = some(key_value_heads=1, layers=1)
BETA, ROWS, LENGTH = 0.3, 3, 11
ENDS = ((4, 9), (6, 12), (5, 10))
"""The ends of each row's chosen and rejected answers; padding follows."""
PROMPT = 2
DRAWN = catalogue.draw(MODEL, VOCABULARY, 0)
REFERENCE = np.array([0.5, -1.0, 2.0], np.float32)


def some_batch() -> Batch:
    tokens = np.random.default_rng(1).integers(2, VOCABULARY, size=(ROWS, LENGTH + 1)).astype(np.int32)
    scored, starts = np.zeros(tokens.shape, bool), np.broadcast_to(np.arange(LENGTH), (ROWS, LENGTH)).copy()
    for row, (chosen, rejected) in enumerate(ENDS):
        for begin, end in ((0, chosen), (chosen, rejected)):
            scored[row, begin + PROMPT : end] = True
            starts[row, begin:end] = begin
    marked = jnp.asarray(tokens), jnp.asarray(scored)
    return Batch(*marked, starts=jnp.asarray(starts), reference=jnp.asarray(REFERENCE))


def margins_of(parameters: dict[str, Any], batch: Batch) -> np.ndarray:
    """Returns log p(chosen) − log p(rejected) of each row in float64, each answer computed alone."""
    found = []
    for row, (chosen, rejected) in enumerate(ENDS):
        tokens = np.asarray(batch.tokens)[row]
        sums = []
        for begin, end in ((0, chosen), (chosen, rejected)):
            scores = catalogue.forward(MODEL, parameters, tokens[None, begin : end - 1]).logits[0]
            likely = scores - np.log(np.sum(np.exp(scores), axis=-1, keepdims=True))
            sums.append(sum(likely[place - 1, tokens[begin + place]] for place in range(PROMPT, end - begin)))
        found.append(sums[0] - sums[1])
    return np.array(found)


def loss_of(parameters: dict[str, Any], batch: Batch) -> float:
    """Returns equation 7 of arXiv 2305.18290 in float64."""
    excess = BETA * (margins_of(parameters, batch) - REFERENCE)
    return float(np.mean(np.log1p(np.exp(-excess))))


@pytest.mark.parametrize(
    "arrangement",
    [tuning.CPU._replace(logit_rows=5), tuning.for_platform("cpu")._replace(logit_rows=16)],
    ids=["XLA", "kernels"],
)
def test_loss_and_gradient_agree_with_float64(arrangement: Tuning) -> None:
    batch = some_batch()

    def total(parameters: Parameters) -> tuple[jax.Array, Losses]:
        arranged = layout.arrange(parameters, MODEL, arrangement)
        losses = token_losses(arranged, batch, MODEL, arrangement, beta=BETA)
        return losses.objective, losses

    gradients, losses = jax.jit(jax.grad(total, has_aux=True), compiler_options=QUICKLY)(DRAWN)
    assert float(losses.cross_entropy) == pytest.approx(loss_of(DRAWN, batch), rel=1e-5)
    assert float(losses.objective) == pytest.approx(loss_of(DRAWN, batch), rel=1e-5)
    doubles = {name: array.astype(float) for name, array in DRAWN.items()}
    random = np.random.default_rng(2)
    for name in ("embedding", "q", "down", "final_norm"):
        direction = random.normal(size=DRAWN[name].shape)
        there, back = (loss_of(doubles | {name: doubles[name] + e * direction}, batch) for e in (1e-5, -1e-5))
        assert np.sum(np.asarray(gradients[name], float) * direction) == pytest.approx((there - back) / 2e-5, rel=1e-3)


def test_margins_do_not_depend_on_company_or_devices() -> None:
    recipe, batch = make_recipe(MODEL), some_batch()._replace(reference=None)
    expected = margins_of(DRAWN, batch)
    found = []
    for mesh, rows in ((recipe, [0, 1, 2]), (recipe, [2, 0]), (on(recipe, data=2), [1, 2, 0])):
        of_rows = make_margins(mesh, tuning.CPU, Sharding(mesh))
        some_rows = Batch(*(None if array is None else np.asarray(array)[rows] for array in batch))  # type: ignore[arg-type]
        margins = of_rows(jax.tree.map(jnp.asarray, DRAWN), some_rows)
        assert margins == pytest.approx(expected[rows], rel=1e-4)
        found.append(dict(zip(rows, margins.tolist(), strict=True)))
    assert found[1] == {row: found[0][row] for row in (2, 0)}
    assert found[2] == found[0]
