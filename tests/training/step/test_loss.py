"""Losses and their gradients are compared with the float64 reference in every parameter."""

import functools
from collections.abc import Callable
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from palmetto.model import layout, tuning
from palmetto.model.decoder import Rematerialize
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters
from palmetto.recipe.model import Model
from palmetto.training.step.loss import Batch, Losses, state_losses, token_losses
from tests.conftest import slow_but
from tests.references import decoder as reference
from tests.references.quickly import QUICKLY

# All sizes differ, and H·Q differs from D, so that no axis can be mistaken for another.
MODEL = Model(layers=2, d_model=20, heads=3, head_size=8, d_ff=36)
VOCABULARY = 40
Z_LOSS = 0.01
"""A hundred times the usual value, so that its gradient matters."""


class Case(NamedTuple):
    layout: Tuning
    length: int
    rematerialize: Rematerialize = "nothing"
    activations: str = "float32"

    def __repr__(self) -> str:
        kind = "unrolled" if self.layout.unroll else "scanned"
        rows = f"rows {self.layout.query_rows}/{self.layout.logit_rows}"
        kind += " with kernels" * self.layout.native
        return f"{kind}, {rows}, T {self.length}, {self.rematerialize}, {self.activations}"


UNROLLED = tuning.CPU._replace(query_rows=7, logit_rows=15)
SCANNED = tuning.ACCELERATOR._replace(query_rows=7, logit_rows=15)
CASES = [
    *(Case(arrangement, 13, choice) for arrangement in (UNROLLED, SCANNED) for choice in get_args(Rematerialize)),
    Case(UNROLLED._replace(query_rows=1, logit_rows=4), 3),
    Case(tuning.for_platform("cpu")._replace(logit_rows=15), 13),
]
BFLOAT16 = Case(SCANNED, 13, "projections", "bfloat16")
"""The settings of the large recipes."""

DRAWN = reference.draw(0, layers=2, d_model=20, heads=3, head_size=8, d_ff=36, vocabulary=VOCABULARY)


@functools.cache
def compiled(case: Case) -> Callable[[dict[str, npt.NDArray[np.float32]], jax.Array], tuple[Parameters, Losses]]:
    model = MODEL.model_copy(update={"activations": case.activations})

    def total(drawn: Parameters, windows: jax.Array) -> tuple[jax.Array, Losses]:
        arranged = layout.arrange(drawn, model, case.layout)
        losses = token_losses(
            arranged, Batch(windows), model, case.layout, z_loss=Z_LOSS, rematerialize=case.rematerialize
        )
        return losses.objective, losses

    # Unoptimized code is compiled in half the time; test_update.py tests the optimized step.
    return jax.jit(jax.grad(total, has_aux=True), compiler_options=QUICKLY)


def given(case: Case, drawn: dict[str, npt.NDArray[np.float32]], windows: np.ndarray) -> reference.Result:
    """Returns the losses and gradients that palmetto computes."""
    gradients, means = compiled(case)(drawn, jnp.asarray(windows))
    assert means.routing is None
    assert {(array.dtype, array.shape) for array in means[:3]} == {(jnp.dtype(jnp.float32), ())}
    assert {array.dtype for array in gradients.values()} == {jnp.dtype(jnp.float32)}
    doubles = {name: np.asarray(array, np.float64) for name, array in gradients.items()}
    return reference.Result(float(means.cross_entropy), float(means.z), doubles)


def some_windows(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(VOCABULARY, size=(2, length + 1)).astype(np.int32)


@pytest.mark.parametrize("case", slow_but([CASES[0], CASES[-1]], CASES), ids=repr)
def test_losses_and_gradients_match_the_reference_in_float32(case: Case) -> None:
    windows = some_windows(case.length)
    ours, theirs = given(case, DRAWN, windows), reference.losses(DRAWN, windows, MODEL.heads, Z_LOSS)
    assert ours.cross_entropy == pytest.approx(theirs.cross_entropy, rel=5e-7)
    assert ours.z == pytest.approx(theirs.z, rel=1e-6)
    assert ours.gradients.keys() == theirs.gradients.keys()
    for name, expected in theirs.gradients.items():
        error = ours.gradients[name] - expected
        assert np.linalg.norm(error) < 1e-6 * np.linalg.norm(expected), name
        assert np.abs(error).max() < 3e-6 * np.abs(expected).max(), name


def test_bfloat16_activations_match_only_to_bfloat16_rounding() -> None:
    windows = some_windows(BFLOAT16.length)
    ours, theirs = given(BFLOAT16, DRAWN, windows), reference.losses(DRAWN, windows, MODEL.heads, Z_LOSS)
    assert ours.cross_entropy == pytest.approx(theirs.cross_entropy, rel=2**-8)
    assert ours.z == pytest.approx(theirs.z, rel=2**-7)
    for name, expected in theirs.gradients.items():
        error = np.linalg.norm(ours.gradients[name] - expected) / np.linalg.norm(expected)
        assert 2**-11 < error < 2**-4, name


def test_the_loss_of_uniform_logits_is_log_vocabulary() -> None:
    nothing = DRAWN | {"embedding": np.zeros_like(DRAWN["embedding"])}
    ours = given(CASES[0], nothing, some_windows(13))
    assert ours.cross_entropy == pytest.approx(np.log(VOCABULARY), rel=1e-6)
    assert ours.z == pytest.approx(np.log(VOCABULARY) ** 2, rel=1e-6)


def test_logits_of_hundreds_do_not_overflow() -> None:
    large, windows = DRAWN | {"final_norm": 300 * DRAWN["final_norm"]}, some_windows(13)
    ours, theirs = given(CASES[0], large, windows), reference.losses(large, windows, MODEL.heads, Z_LOSS)
    assert theirs.cross_entropy > 100
    assert ours.cross_entropy == pytest.approx(theirs.cross_entropy, rel=1e-5)
    assert ours.z == pytest.approx(theirs.z, rel=1e-5)


@pytest.mark.parametrize("arrangement", [UNROLLED, SCANNED], ids=["unrolled", "scanned"])
def test_losses_and_gradients_cover_scored_tokens_only(arrangement: Tuning) -> None:
    """The reference loss of one token is the difference of its sums with and without the token."""
    windows, random = some_windows(9), np.random.default_rng(3)
    scored = random.random(windows.shape) < 0.4
    scored[:, 0], scored[:, 4] = False, True

    def total(drawn: Parameters) -> tuple[jax.Array, Losses]:
        arranged, batch = layout.arrange(drawn, MODEL, arrangement), Batch(jnp.asarray(windows), jnp.asarray(scored))
        losses = token_losses(arranged, batch, MODEL, arrangement, z_loss=Z_LOSS)
        return losses.objective, losses

    gradients, means = jax.jit(jax.grad(total, has_aux=True), compiler_options=QUICKLY)(DRAWN)
    cross_entropy = z = 0.0
    expected = {name: np.zeros(array.shape) for name, array in DRAWN.items()}
    for window, of_window in zip(windows, scored, strict=True):
        for place in np.flatnonzero(of_window):
            for end, sign in ((place + 1, 1), (place, -1)):
                if end > 1:
                    part = reference.losses(DRAWN, window[None, :end], MODEL.heads, Z_LOSS)
                    weight = sign * (end - 1) / scored.sum()
                    cross_entropy += weight * part.cross_entropy
                    z += weight * part.z
                    expected = {name: expected[name] + weight * part.gradients[name] for name in expected}
    assert float(means.cross_entropy) == pytest.approx(cross_entropy, rel=1e-6)
    assert float(means.z) == pytest.approx(z, rel=1e-6)
    for name, array in expected.items():
        assert np.linalg.norm(gradients[name] - array) < 3e-6 * np.linalg.norm(array), name


@pytest.mark.parametrize("native", [False, True])
def test_memory_holds_the_logits_of_one_block(native: bool) -> None:
    """Eight blocks of 64 rows take less memory than the logits of four."""
    rows, vocabulary = 512, 4096
    settings = tuning.CPU._replace(logit_rows=64, native=native and tuning.for_platform("cpu").native)
    batch = Batch(jnp.zeros((1, rows + 1), jnp.int32))

    def objective(drawn: Parameters, states: jax.Array) -> jax.Array:
        arranged = layout.arrange(drawn, MODEL, settings)
        return state_losses(states, arranged, batch, settings, z_loss=Z_LOSS).objective

    drawn = DRAWN | {"embedding": np.zeros((vocabulary, MODEL.d_model), np.float32)}
    states = jax.ShapeDtypeStruct((1, rows, MODEL.d_model), jnp.float32)
    memory = jax.jit(jax.grad(objective, argnums=(0, 1))).lower(drawn, states).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * 64 * vocabulary * 4
