"""Tests the reference itself: its hand-derived gradient must agree with central differences of its losses."""

import numpy as np
import pytest

from tests.references import decoder as reference


def test_the_gradient_agrees_with_differences_of_the_losses() -> None:
    heads, vocabulary, z_loss = 3, 7, 0.3
    drawn = reference.draw(0, layers=2, d_model=6, heads=heads, head_size=4, d_ff=5, vocabulary=vocabulary)
    parameters = {name: array.astype(np.float64) for name, array in drawn.items()}
    random = np.random.default_rng(0)
    windows = random.integers(vocabulary, size=(2, 5)).astype(np.int32)
    gradients = reference.losses(parameters, windows, heads, z_loss).gradients

    def total(moved: dict[str, reference.Array]) -> float:
        result = reference.losses(moved, windows, heads, z_loss)
        return result.cross_entropy + z_loss * result.z

    for name, array in parameters.items():
        for index in random.permutation(array.size)[:12]:
            step = np.zeros(array.size)
            step[index] = 1e-5
            up, down = ({**parameters, name: array + sign * step.reshape(array.shape)} for sign in (1, -1))
            slope = (total(up) - total(down)) / 2e-5
            assert slope == pytest.approx(gradients[name].reshape(-1)[index], rel=1e-6, abs=1e-8), (name, index)
