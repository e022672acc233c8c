"""PaLM's accounting of floating-point operations."""

from typing import NamedTuple

import pytest

from palmetto.model import tuning
from palmetto.native.library import kernels
from palmetto.recipe import loading
from palmetto.training import flops
from palmetto.training.flops import device_peak, flops_per_token, measured_peak, mesh_peak
from tests.conftest import RecipeMaker


def test_flops_per_token_follow_the_formula_of_palm() -> None:
    expected = 6 * 540_356_474_880 + 12 * 118 * 48 * 256 * 2048
    assert flops_per_token(loading.load("palm-540b")) == expected


def test_the_utilization_of_palm_540b_matches_the_paper() -> None:
    recipe = loading.load("palm-540b")
    tokens_per_second, peak = 238.3e3, 6144 * 275e12
    assert round(100 * tokens_per_second * flops_per_token(recipe) / peak, 1) == 46.2
    no_attention = flops_per_token(recipe) - 12 * 118 * 48 * 256 * 2048
    assert round(100 * tokens_per_second * no_attention / peak, 1) == 45.7


@pytest.mark.parametrize("native", [False, True])
def test_a_measured_peak_is_plausible(native: bool) -> None:
    if native and kernels().instruction_set is None:
        pytest.skip(kernels().reason)
    assert 1e8 < measured_peak("float32", native, size=64, repeats=3) < 1e16


def test_the_peak_is_that_of_the_products_of_training(
    tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in bfloat16 by kernels is not set beside float32 by XLA, which would be less than it reaches itself."""
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(flops, "measured_peak", lambda dtype, native: asked.append((dtype, native)))
    for native in (False, True):
        monkeypatch.setattr(tuning, "for_platform", lambda *_, native=native: tuning.CPU._replace(native=native))
        device_peak(tiny_recipe("model.activations=bfloat16"))
    assert asked == [("bfloat16", False), ("bfloat16", True)]


class Chip(NamedTuple):
    device_kind: str
    platform: str


def test_known_chips_have_their_published_peak(tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax.devices", lambda: [Chip("TPU v4", "tpu")] * 4)
    assert device_peak(tiny_recipe()) == 275e12
    assert mesh_peak(tiny_recipe("mesh.model=2"), 275e12) == 2 * 275e12, "not of all that are there"


def test_the_peak_of_an_unknown_chip_is_measured(tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax.devices", lambda: [Chip("NVIDIA RTX 9000", "gpu")] * 4)
    monkeypatch.setattr(flops, "measured_peak", lambda dtype, native: 3e12)
    assert device_peak(tiny_recipe()) == 3e12
    assert mesh_peak(tiny_recipe("mesh.data=4"), 3e12) == 4 * 3e12


def test_virtual_devices_count_as_one_processor(tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax.devices", lambda: [Chip("cpu", "cpu")] * 8)
    assert mesh_peak(tiny_recipe("mesh.data=4"), 1e11) == 1e11
