"""Tests that sums of fixed order have the bits of an explicit sum, whatever else is summed beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from palmetto.model.sums import fold, rounded, scale_rows
from tests.references.sums import halves_sum

pytestmark = pytest.mark.optimized


def drawn(*shape: int) -> np.ndarray:
    random = np.random.default_rng(sum(shape))
    return (random.normal(size=shape) * 10.0 ** random.integers(-3, 4, size=shape)).astype(np.float32)


def test_a_rounded_product_is_not_fused_with_an_addition() -> None:
    a, b, c = drawn(3, 1000)
    assert np.array_equal(jax.jit(lambda a, b, c: rounded(a * b) + c)(a, b, c), a * b + c)


def test_a_fold_has_barriers_only_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend, stored in (("gpu", 2), ("cpu", 0)):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        program = jax.jit(lambda x: fold(x, 0)).lower(np.zeros((64, 3), np.float32)).as_text()
        assert program.count("optimization_barrier") == stored, "once for every three levels"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-40])
def test_rounding_leaves_every_value_unchanged(value: float) -> None:
    array = np.array([value], np.float32)
    assert np.asarray(jax.jit(rounded)(array)).tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", [(1, 4), (2, 7), (33, 5), (1536, 12), (384, 384)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_fold_has_the_bits_of_the_sum_by_halves(shape: tuple[int, ...], axis: int) -> None:
    array = drawn(*shape)
    folded = np.asarray(jax.jit(lambda x: fold(x, axis))(array))
    assert np.array_equal(folded, halves_sum(array, axis))
    beside = 1 if axis == 0 else 0
    for part in np.array_split(array, 3, axis=beside)[:1]:
        if part.size:
            assert np.array_equal(jax.jit(lambda x: fold(x, axis))(part), halves_sum(part, axis))


def test_a_divided_fold_sums_the_folds_of_the_devices() -> None:
    array, mesh = drawn(6, 96), Mesh(np.array(jax.devices()[:4]), ("model",))
    with jax.set_mesh(mesh):
        folded = jax.jit(lambda x: fold(x, 1, 4), in_shardings=PartitionSpec(None, "model"))(array)
    assert np.allclose(folded, halves_sum(array.reshape(6, 4, 24), -1).sum(1, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("experts", [(), (4,)])
def test_scaled_rows_have_the_automatic_derivative(experts: tuple[int, ...]) -> None:
    scale, kernel = drawn(3, 8), drawn(3, *experts, 8, 16)

    def plain(scale: jax.Array, kernel: jax.Array) -> jax.Array:
        return scale.reshape(3, *[1] * len(experts), 8, 1) * kernel

    weights = drawn(*kernel.shape)
    for function in (plain, lambda s, k: scale_rows(s, k, 1)):
        value, gradients = jax.value_and_grad(lambda s, k, f=function: jnp.sum(f(s, k) * weights), (0, 1))(
            scale, kernel
        )
        if function is plain:
            expected = value, gradients
    assert np.allclose(value, expected[0], rtol=1e-6)
    for found, automatic in zip(gradients, expected[1], strict=True):
        assert np.allclose(found, automatic, rtol=1e-4, atol=1e-4 * np.abs(automatic).max())
