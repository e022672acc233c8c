"""Counters of energy, read from files as Linux has them and from a library as NVIDIA's driver has it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from palmetto.host import power

NVML = """
static unsigned long long spent = 5000;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{ *handle = (void *)(long)(index + 1); return index > 1; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) 
{ *handle = (void *)(long)(uuid[4] == 'o' ? 3 : 2); return uuid[0] != 'G'; }
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *energy)
{ spent += 1000; *energy = (long)handle * 1000000 + spent; return handle == (void *)3; }
"""


def zone(folder: Path, name: str, place: str, microjoules: int, most: int = 1000) -> Path:
    path = folder / place
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{most * 10**6}\n")
    return path / "energy_uj"


def test_packages_and_memory_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    package = zone(tmp_path, "package-0", "intel-rapl:0", 10 * 10**6)
    core = zone(tmp_path, "core", "intel-rapl:0:0", 0)
    memory = zone(tmp_path, "dram", "intel-rapl:0:1", 990 * 10**6)
    zone(tmp_path, "psys", "intel-rapl:1", 0)
    meters = power.meters("cpu", tmp_path, "no library")
    assert meters is not None
    assert meters.kinds == "RAPL"
    assert meters.joules() == 0
    package.write_text("35000000")
    core.write_text("9000000")
    memory.write_text("5000000")  # it has begun again at 1,000 J
    assert meters.joules() == pytest.approx(25 + 15)
    assert meters.joules() == 0


def test_a_reading_that_fails_is_unknown_and_the_next_counts(tmp_path: Path) -> None:
    package = zone(tmp_path, "package-0", "intel-rapl:0", 10 * 10**6)
    meters = power.meters("cpu", tmp_path, "no library")
    assert meters is not None
    package.unlink()
    assert meters.joules() is None
    package.write_text("20000000")
    assert meters.joules() is None, "nothing is known of its beginning"
    package.write_text("25000000")
    assert meters.joules() == pytest.approx(5)


def test_a_machine_without_counters_has_no_meters(tmp_path: Path) -> None:
    assert power.meters("cpu", tmp_path, "no library") is None
    (tmp_path / "intel-rapl:0").mkdir()  # as in a container that hides the files
    assert power.meters("cpu", tmp_path, "no library") is None
    zone(tmp_path, "package-0", "intel-rapl:1", 0)
    assert power.meters("gpu", tmp_path, "no library") is None, "the GPU's part would be missing"
    assert power.meters("tpu", tmp_path, "no library") is None


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> str:
    if (compiler := shutil.which("cc") or shutil.which("gcc")) is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(NVML)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "nvml.so", folder / "nvml.c"], check=True)
    return str(folder / "nvml.so")


def test_gpus_are_read_by_their_driver(nvml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of the library takes a joule more."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    meters = power.meters("gpu", tmp_path, nvml)
    assert meters is not None
    assert meters.kinds == "NVML"
    assert meters.joules() == pytest.approx(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234")
    meters = power.meters("gpu", tmp_path, nvml)
    assert meters is not None
    assert meters.joules() == pytest.approx(1)
    zone(tmp_path, "package-0", "intel-rapl:0", 0)
    both = power.meters("gpu", tmp_path, nvml)
    assert both is not None
    assert both.kinds == "NVML and RAPL"


def test_gpus_of_which_one_counts_nothing_are_estimated(
    nvml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-old")
    assert power.meters("gpu", tmp_path, nvml) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,-1,1")
    meters = power.meters("gpu", tmp_path, nvml)
    assert meters is not None
    assert meters.joules() == pytest.approx(1), "CUDA sees the first alone"


def test_published_powers_are_found_by_the_start_of_a_name() -> None:
    assert power.watts_of("NVIDIA H100 80GB HBM3", 8) == (700, "the datasheet's greatest power of an H100")
    assert power.watts_of("cpu", 2) == (24, "12 W a core, for 2 cores")
    assert power.watts_of("TPU v7", 8) is None
