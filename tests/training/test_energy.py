"""Tests the energy that a run has used, from its lines."""

from pathlib import Path
from typing import Any

import pytest

from palmetto.files import write_text
from palmetto.host import power
from palmetto.json_lines import read_json_lines
from palmetto.runs.directory import RunDirectory
from palmetto.training import energy
from tests.conftest import RecipeMaker
from tests.host.test_power import zone

CPU = {"platform": "cpu", "device": "cpu", "cores": 4}
WATTS = "energy={watts: 100, pue: 1.5, intensity: 0.2, source: a label}"


def run_with(path: Path, *lines: str) -> RunDirectory:
    run = RunDirectory(path)
    write_text(run.energy, "".join(f"{line}\n" for line in lines))
    return run


def test_an_account_writes_what_meters_count(tmp_path: Path) -> None:
    counter = zone(tmp_path / "powercap", "package-0", "intel-rapl:0", 0)
    run = RunDirectory(tmp_path / "run")
    account = energy.open_account(run, power.meters("cpu", tmp_path / "powercap", "no library"))
    account.note()
    assert not run.energy.exists(), "a minute has not passed"
    counter.write_text("7000000")
    account.settle()
    (line,) = read_json_lines(run.energy)
    assert (line["joules"], line["meters"]) == (7, "RAPL")
    assert 0 <= line["seconds"] < 10


def test_a_run_from_before_counts_the_steps_it_had(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_text(run.metrics, '{"step": 1, "attempt": 0, "seconds": 2.5}\n{"step": 2, "attempt": 0, "seconds": 1.5}\n')
    energy.open_account(run, None).settle()
    first, second = read_json_lines(run.energy)
    assert first == {"seconds": 4.0}
    assert "joules" not in second
    energy.open_account(run, None)
    assert len(read_json_lines(run.energy)) == 2, "only once"


@pytest.mark.parametrize(
    ("lines", "kwh", "how"),
    [
        (['{"seconds": 7200}'], 0.2 * 1.5, "estimated from energy.watts=100 (a label)"),
        (['{"seconds": 7200, "joules": 360000, "meters": "RAPL"}'], 0.1 * 1.5, "measured by RAPL"),
        (
            ['{"seconds": 3600}', '{"seconds": 3600, "joules": 360000, "meters": "RAPL"}'],
            0.2 * 1.5,
            "partly measured by RAPL, else estimated from energy.watts=100 (a label)",
        ),
    ],
)
def test_what_is_not_measured_is_estimated_and_called_so(
    tmp_path: Path, tiny_recipe: RecipeMaker, lines: list[str], kwh: float, how: str
) -> None:
    used = energy.of_run(run_with(tmp_path, *lines), tiny_recipe(WATTS), CPU)
    assert (used["kwh"], used["kg_co2e"]) == pytest.approx((kwh, kwh * 0.2))
    assert (used["how"], used["hours"], used["chips"]) == (how, 2, 1)
    assert how in energy.describe(used)


def test_a_processor_counts_once_and_chips_by_the_mesh(tmp_path: Path, tiny_recipe: RecipeMaker) -> None:
    recipe, run = tiny_recipe("mesh.data=4", "training.threads=4"), run_with(tmp_path, '{"seconds": 3600}')
    assert energy.of_run(run, recipe, CPU)["kwh"] == pytest.approx(0.048), "12 W for each of 4 cores"
    gpus: dict[str, Any] = {"platform": "gpu", "device": "NVIDIA A100-SXM4-80GB", "cores": 64}
    used = energy.of_run(run, recipe, gpus)
    assert (used["chips"], used["watts"], used["kwh"]) == pytest.approx((4, 400, 1.6))


def test_a_chip_without_a_published_power_is_not_guessed(tmp_path: Path, tiny_recipe: RecipeMaker) -> None:
    unknown: dict[str, Any] = {"platform": "tpu", "device": "TPU v9", "cores": 64}
    used = energy.of_run(run_with(tmp_path, '{"seconds": 3600}'), tiny_recipe(), unknown)
    assert (used["kwh"], used["kg_co2e"], used["watts"]) == (None, None, None)
    assert "energy.watts would give one" in " ".join(energy.describe(used))
