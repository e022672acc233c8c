"""Compares the decoder with the float64 reference, and tests bitwise causality, in every memory layout."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.model import decoder, layout, tuning
from palmetto.model.weights import Parameters
from palmetto.recipe.mesh import Mesh
from palmetto.recipe.model import Model
from tests.references import decoder as reference
from tests.references.quickly import QUICKLY

# All sizes differ, and H·Q differs from D, so that no axis can be mistaken for another.
MODEL = Model(layers=2, d_model=20, heads=3, head_size=8, d_ff=36)
VOCABULARY = 40
LENGTH = 13
LAYOUTS = {
    "cpu": tuning.CPU,
    "cpu with kernels": tuning.for_platform("cpu"),
    "cpu in blocks": tuning.CPU._replace(query_rows=5, logit_rows=7),
    "native": tuning.for_platform("cpu")._replace(logit_rows=7),
    "accelerator": tuning.ACCELERATOR,
    "accelerator in blocks": tuning.ACCELERATOR._replace(query_rows=5, logit_rows=7),
}
Logits = Callable[[dict[str, np.ndarray], jax.Array], jax.Array]


@functools.cache
def compiled(arrangement: str, activations: str = "float32") -> Logits:
    model, chosen = MODEL.model_copy(update={"activations": activations}), LAYOUTS[arrangement]

    def logits(drawn: Parameters, tokens: jax.Array) -> jax.Array:
        arranged = layout.arrange(drawn, model, chosen)
        states, routing = decoder.Forward(model, chosen).states(arranged, tokens)
        assert routing is None
        return decoder.logits(arranged.unembedding, states)

    return jax.jit(logits, compiler_options=QUICKLY)


DRAWN = reference.draw(0, layers=2, d_model=20, heads=3, head_size=8, d_ff=36, vocabulary=VOCABULARY)


def some_tokens(seed: int, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(VOCABULARY, size=(2, length)).astype(np.int32)


@pytest.mark.parametrize(
    ("arrangement", "length"),
    [*((name, LENGTH) for name in LAYOUTS), ("cpu in blocks", 4), ("accelerator in blocks", 2)],
)
def test_logits_agree_with_the_reference_to_float32_rounding(arrangement: str, length: int) -> None:
    tokens = some_tokens(length, length)
    expected = reference.logits(DRAWN, tokens, MODEL.heads)
    given = compiled(arrangement)(DRAWN, jnp.asarray(tokens))
    assert given.shape == (2, length, VOCABULARY)
    assert given.dtype == jnp.float32
    assert np.abs(given - expected).max() < 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("arrangement", ["cpu in blocks", "accelerator in blocks"])
def test_bfloat16_activations_have_the_error_of_bfloat16(arrangement: str) -> None:
    tokens = some_tokens(0)
    expected = reference.logits(DRAWN, tokens, MODEL.heads)
    given = compiled(arrangement, "bfloat16")(DRAWN, jnp.asarray(tokens))
    assert given.dtype == jnp.float32
    error = np.sqrt(np.mean((given - expected) ** 2)) / reference.rms(expected)
    assert 2**-11 < error < 2**-6


def test_hidden_states_have_the_activation_type() -> None:
    model = MODEL.model_copy(update={"activations": "bfloat16"})

    def hidden_states(drawn: Parameters, tokens: jax.Array) -> jax.Array:
        return decoder.Forward(model, tuning.CPU).states(layout.arrange(drawn, model, tuning.CPU), tokens)[0]

    states = jax.eval_shape(hidden_states, DRAWN, some_tokens(0))
    assert (states.shape, states.dtype) == ((2, LENGTH, MODEL.d_model), jnp.bfloat16)


@pytest.mark.parametrize("arrangement", LAYOUTS)
@given(seed=st.integers(0, 1 << 30), first_changed=st.integers(1, LENGTH - 1))
@settings(max_examples=50)
def test_logits_do_not_depend_on_later_tokens(arrangement: str, seed: int, first_changed: int) -> None:
    tokens, logits = some_tokens(seed), compiled(arrangement)
    changed = tokens.copy()
    changed[:, first_changed:] = (tokens[:, first_changed:] + 1 + seed % (VOCABULARY - 1)) % VOCABULARY
    before, after = logits(DRAWN, jnp.asarray(tokens)), logits(DRAWN, jnp.asarray(changed))
    assert np.array_equal(before[:, :first_changed], after[:, :first_changed])
    assert not np.any(np.all(before[:, first_changed:] == after[:, first_changed:], axis=2)), "every later one does"


@pytest.mark.parametrize("arrangement", LAYOUTS)
def test_sequences_of_a_batch_do_not_see_each_other(arrangement: str) -> None:
    tokens = some_tokens(3)
    other = tokens.copy()
    other[1] = some_tokens(4)[0]
    logits = compiled(arrangement)
    assert np.array_equal(logits(DRAWN, jnp.asarray(tokens))[0], logits(DRAWN, jnp.asarray(other))[0])


def test_the_platform_decides_the_layout() -> None:
    assert tuning.for_platform("cpu")._replace(native=False) == tuning.CPU
    assert not tuning.for_platform("cpu", Mesh(model=2)).native
    for platform in ("gpu", "tpu"):
        assert tuning.for_platform(platform) == tuning.ACCELERATOR._replace(platform=platform)
