"""Environment variables on which bits depend are refused or recorded."""

import os
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.host import variables


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("JAX_") or name == "XLA_FLAGS":
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("JAX_DEFAULT_PRNG_IMPL", "rbg", "threefry2x32"),
        ("JAX_ENABLE_X64", "1", "0"),
        ("JAX_ENABLE_X64", "True", "0"),
        ("JAX_THREEFRY_PARTITIONABLE", "0", "1"),
        ("JAX_RANDOM_SEED_OFFSET", "7", "0"),
        ("JAX_DISABLE_JIT", "yes", "0"),
        ("JAX_NUMPY_DTYPE_PROMOTION", "strict", "standard"),
        ("JAX_HIGH_DYNAMIC_RANGE_GUMBEL", "true", "0"),
    ],
)
def test_variables_that_change_the_computation_are_refused(
    name: str, value: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"^{name}={value}: would change what a run computes; .* set it to {instead}$"):
        variables.check()
    monkeypatch.setenv(name, instead)
    variables.check()
    assert variables.record(()) == {}, "a default value is not recorded"


@pytest.mark.parametrize("flag", ["--xla_cpu_enable_fast_math=true", "--xla_cpu_enable_fast_math"])
def test_fast_math_is_refused(flag: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    says = "^XLA_FLAGS: --xla_cpu_enable_fast_math=true would change what a run computes; leave it out$"
    file = tmp_path / "flags.txt"
    file.write_text(f"--xla_dump_to=/nowhere\n{flag}\n")
    for value in (f"--xla_dump_to=/nowhere {flag}", str(file)):
        monkeypatch.setenv("XLA_FLAGS", value)
        with pytest.raises(UserError, match=says):
            variables.check()
    monkeypatch.setenv("XLA_FLAGS", f"{flag} --xla_cpu_enable_fast_math=false")
    variables.check()


def test_a_missing_file_of_flags_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "xla_dump_to=x")
    with pytest.raises(UserError, match=r"^XLA_FLAGS=xla_dump_to=x: expected flags that begin with --, or "):
        variables.check()


def test_other_variables_and_flags_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "bfloat16")
    monkeypatch.setenv("JAX_OPTIMIZATION_LEVEL", "O0")
    monkeypatch.setenv("JAX_TO_COME", "x")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1 --xla_b --xla_a=2 --xla_ours=1")
    assert variables.record(["--xla_ours=1"]) == {
        "--xla_a": "2",
        "--xla_b": "true",
        "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
        "JAX_OPTIMIZATION_LEVEL": "O0",
        "JAX_TO_COME": "x",
        "NVIDIA_TF32_OVERRIDE": "0",
    }
    assert variables.record(["--xla_ours=2"])["--xla_ours"] == "1"


@pytest.mark.parametrize(
    "name",
    [
        "JAX_PLATFORMS",
        "JAX_COMPILATION_CACHE_DIR",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
        "JAX_LOG_COMPILES",
        "JAX_NUM_CPU_DEVICES",
        "JAX_COORDINATOR_ADDRESS",
        "HOME_OF_JAX_",
    ],
)
def test_variables_without_effect_on_bits_are_not_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x --xla_force_host_platform_device_count=4 --xla_cpu_max_isa=AVX")
    assert variables.record(()) == {}
