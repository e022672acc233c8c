"""The peak that the MFU is relative to."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from palmetto.files import read_json, write_json
from palmetto.runs.directory import RunDirectory
from palmetto.training import flops
from palmetto.training.utilization import peak_of
from tests.conftest import RecipeMaker


class Chip(SimpleNamespace):
    device_kind, platform = "some chip", "gpu"


def test_the_peak_follows_the_devices_of_a_resumed_run(
    tmp_path: Path, tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peak of one device is the one that the run measured first."""
    monkeypatch.setattr("jax.devices", lambda: [Chip()] * 8)
    run = RunDirectory(tmp_path)
    write_json(run.environment, {"jax": "1", "peak_flops": 7.0})  # an older record of the whole mesh
    for measured, devices in ((1e12, 2), (5e12, 8)):
        monkeypatch.setattr(flops, "measured_peak", lambda dtype, native, measured=measured: measured)
        recipe = tiny_recipe(f"mesh.data={devices}", "tokens.vocabulary_size=512", "training.micro_batch=1")
        assert peak_of(run, recipe) == devices * 1e12
    assert read_json(run.environment) == {"jax": "1", "peak_flops": 7.0, "device_peak_flops": 1e12}
    stated = tiny_recipe("mesh.data=2", "training.peak_flops=1.5e12")
    assert peak_of(run, stated) == 1.5e12, "the recipe's is that of the whole mesh"
    assert peak_of(run, tiny_recipe("mesh.data=2")) == 2e12, "and is not kept"
