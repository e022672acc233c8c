"""Preparing the environment before JAX is imported. Each case has its own process, since a process imports JAX once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.host import environment
from palmetto.host.extras import installation

SETTLED = ("NPROC", "XLA_FLAGS", "JAX_PLATFORMS", "TPU_SKIP_MDS_QUERY", "JAX_DEFAULT_MATMUL_PRECISION")
ON_A_CPU, ON_A_GPU = "_ACCELERATORS = ()", "_has_accelerator = lambda: True"


def prepared(call: str, before: dict[str, str] | None = None, machine: str = ON_A_CPU) -> dict[str, str | None]:
    """Returns the environment after a call of the module in a new process; `machine` replaces a name of the module."""
    program = f"""
import json, os, sys
from palmetto.host import environment
assert "jax" not in sys.modules, "palmetto.host.environment must not import JAX"
environment.{machine}
environment.{call}
assert "jax" not in sys.modules
print(json.dumps({{name: os.environ.get(name) for name in {SETTLED}}}))
"""
    return json.loads(run(program, before))


def run(program: str, before: dict[str, str] | None = None) -> str:
    inherited = {name: value for name, value in os.environ.items() if name not in (*SETTLED, "JAX_NUM_CPU_DEVICES")}
    result = subprocess.run(
        [sys.executable, "-c", program], env=inherited | (before or {}), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_threads_and_platform_are_set() -> None:
    after = prepared("prepare(8)")
    assert after["NPROC"] == "8"
    assert after["JAX_PLATFORMS"] == "cpu"
    assert after["TPU_SKIP_MDS_QUERY"] == "1"


def test_the_recipe_sets_threads_and_other_variables_are_kept() -> None:
    before = {"NPROC": "3", "JAX_PLATFORMS": "cpu,xyz", "XLA_FLAGS": "--xla_dump_to=/nowhere"}
    after = prepared("prepare(5)", before)
    assert after["NPROC"] == "5"
    assert after["JAX_PLATFORMS"] == "cpu,xyz"
    assert "--xla_dump_to=/nowhere" in (after["XLA_FLAGS"] or "").split()


def test_a_recorded_smaller_instruction_set_is_kept() -> None:
    known = environment.available_instruction_sets()
    if len(known) < 2:
        pytest.skip("this machine has no two instruction sets that XLA tells apart")
    for recorded, capped in ((known[0], True), (known[-2], True), (known[-1], False), ("NEON", False)):
        flags = prepared(f"prepare(8, {{'instruction_set': {recorded!r}}})")["XLA_FLAGS"] or ""
        assert (f"--xla_cpu_max_isa={recorded}" in flags) == capped
    assert "max_isa" not in (prepared("prepare(8)")["XLA_FLAGS"] or "")


@pytest.mark.parametrize(
    "before", [{"XLA_FLAGS": "--xla_force_host_platform_device_count=16"}, {"JAX_NUM_CPU_DEVICES": "16"}]
)
def test_more_devices_than_threads_are_refused(before: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"training\.threads=8: fewer than the 16 .* a mesh of at most 8 would do"):
        environment.prepare(8)
    assert prepared("prepare(16)", before)["NPROC"] == "16"


def test_the_pool_cannot_change_after_jax_is_imported() -> None:
    import jax  # noqa: F401

    environment.prepare(8)
    with pytest.raises(AssertionError, match="before jax is imported"):
        environment.prepare(16)


def test_gpus_get_deterministic_operations() -> None:
    after = prepared("prepare(8)", machine=ON_A_GPU)
    assert "--xla_gpu_deterministic_ops=true" in (after["XLA_FLAGS"] or "").split()
    assert after["JAX_PLATFORMS"] is None


def test_accelerators_round_float32_only_if_asked() -> None:
    name = "JAX_DEFAULT_MATMUL_PRECISION"
    assert prepared("prepare(8)", machine=ON_A_GPU)[name] == "float32"
    assert prepared("prepare(8)", {name: "tensorfloat32"}, ON_A_GPU)[name] == "tensorfloat32"
    assert prepared("prepare(8)")[name] is None


@pytest.mark.parametrize(
    ("there", "plugins", "platforms", "expected"),
    [
        (True, ["xla_cuda13"], "", True),
        (True, ["xla_cuda12"], "cuda,cpu", True),
        (True, ["xla_cuda13"], "cpu", False),
        (True, ["xla_rocm7", "libtpu"], "", False),
        (True, [], "", False),
        (False, ["xla_cuda13"], "", False),
    ],
)
def test_an_accelerator_counts_if_jax_would_use_it(
    there: bool, plugins: list[str], platforms: str, expected: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "nvidia0"
    if there:
        path.touch()
    monkeypatch.setattr(environment, "_ACCELERATORS", ((str(path), "xla_cuda"),))
    monkeypatch.setattr(environment, "_plugins", lambda: plugins)
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert environment._has_accelerator() == expected


def test_plugins_are_found_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jax_plugins" / "xla_cuda99").mkdir(parents=True)
    (tmp_path / "jax_plugins" / "xla_cuda99" / "__init__.py").touch()
    (tmp_path / "libtpu.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert {"xla_cuda99", "libtpu"} <= set(environment._plugins())


@pytest.mark.parametrize("flag", ["--xla_allow_excess_precision", "--xla_gpu_deterministic_ops"])
def test_pinned_flags_override_those_of_the_user(flag: str) -> None:
    """XLA takes the last of two flags with one name."""
    pinned, machine = (False, ON_A_CPU) if "excess" in flag else (True, ON_A_GPU)
    before = {"XLA_FLAGS": f"{flag}={str(pinned).lower()} {flag}={str(not pinned).lower()}"}
    flags = (prepared("prepare(8)", before, machine)["XLA_FLAGS"] or "").split()
    assert [f for f in flags if f.startswith(flag)][-1] == f"{flag}={str(pinned).lower()}"


@pytest.mark.parametrize(("jaxlib", "consistent"), [("0.10.2", False), ("0.11.0", True), ("0.12.0.1", True)])
def test_products_are_kept_consistent_where_jaxlib_has_several(jaxlib: str, consistent: bool) -> None:
    """Earlier ones have other bits with the flag."""
    machine = f"metadata.version = lambda name: {jaxlib!r}; environment.{ON_A_CPU}"
    flags = (prepared("prepare(8)", machine=machine)["XLA_FLAGS"] or "").split()
    assert ("--xla_cpu_enable_platform_dependent_math=false" in flags) == consistent


def test_a_file_of_flags_is_replaced_by_its_flags(tmp_path: Path) -> None:
    """XLA reads either a file or flags, not both."""
    file = tmp_path / "flags.txt"
    file.write_text("--xla_dump_to=/nowhere\n")
    flags = (prepared("prepare(8)", {"XLA_FLAGS": str(file)})["XLA_FLAGS"] or "").split()
    assert flags[0] == "--xla_dump_to=/nowhere"
    assert "--xla_allow_excess_precision=false" in flags


def test_a_variable_that_changes_what_is_computed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    with pytest.raises(UserError, match=r"^JAX_ENABLE_X64=1: would"):
        environment.prepare(8)


def test_flags_of_every_run_are_not_recorded() -> None:
    program = f"""
import json, os
from palmetto.host import environment
environment.{ON_A_CPU}
os.environ.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
environment.prepare(8, {{"instruction_set": "SSE4_2"}}, devices=4)
print(json.dumps(environment.record()["variables"]))
"""
    assert json.loads(run(program)) == {}
    assert json.loads(run(program, {"XLA_FLAGS": "--xla_cpu_use_thunk_runtime=true"})) == {
        "--xla_cpu_use_thunk_runtime": "true"
    }


@pytest.mark.parametrize(
    ("then", "now", "differing"),
    [
        ({}, {"JAX_A": "1"}, ["JAX_A unset → 1"]),
        ({"--xla_a": "1", "JAX_B": "2"}, {"--xla_a": "3"}, ["--xla_a 1 → 3", "JAX_B 2 → unset"]),
        ({"JAX_A": "1"}, {"JAX_A": "1"}, []),
    ],
)
def test_different_variables_are_differences(then: dict[str, str], now: dict[str, str], differing: list[str]) -> None:
    assert environment.differences(CPU | {"variables": then}, CPU | {"variables": now}) == differing


def test_variables_missing_in_an_old_record_are_not_compared() -> None:
    assert environment.differences(CPU, CPU | {"variables": {"JAX_A": "1"}}) == []


def test_the_record_holds_what_bits_depend_on() -> None:
    record = environment.record()
    assert record["threads"] == 8
    assert {
        "jaxlib",
        "platform",
        "device",
        "instruction_set",
        "products",
        "palmetto",
        "python",
        "cores",
    } <= record.keys()
    assert json.loads(json.dumps(record)) == record
    assert environment.differences(record, record) == []


def test_a_capped_instruction_set_is_recorded_as_capped() -> None:
    known = environment.available_instruction_sets()
    if len(known) < 2:
        pytest.skip("this machine has no two instruction sets that XLA tells apart")
    program = f"""
import json
from palmetto.host import environment
environment.{ON_A_CPU}
environment.prepare(8, {{"instruction_set": {known[-2]!r}}})
print(json.dumps(environment.record()))
"""
    assert json.loads(run(program))["instruction_set"] == known[-2]


CPU: dict[str, Any] = {
    "jaxlib": "0.10.2",
    "platform": "cpu",
    "device": "cpu",
    "threads": 8,
    "instruction_set": "AVX2",
    "cores": 2,
    "python": "3.11.0",
}
GPU = CPU | {"platform": "gpu", "device": "NVIDIA H100"}


@pytest.mark.parametrize(
    ("recorded", "change", "differing"),
    [
        (CPU, {"jaxlib": "0.11.0"}, ["jaxlib 0.10.2 → 0.11.0"]),
        (CPU, {"threads": 4}, ["threads 8 → 4"]),
        (CPU, {"instruction_set": "AVX512"}, ["instruction_set AVX2 → AVX512"]),
        (CPU, {"platform": "gpu"}, ["platform cpu → gpu"]),
        (CPU, {"products": "XLA"}, []),
        (CPU, {"products": "native avx2"}, ["products XLA → native avx2"]),
        (CPU | {"products": "native amx"}, {"products": "native avx2"}, ["products native amx → native avx2"]),
        (CPU, {"cores": 64, "python": "3.12.0", "device": "another cpu"}, []),
        (GPU, {"device": "NVIDIA A100"}, ["device NVIDIA H100 → NVIDIA A100"]),
        (GPU, {"cores": 64}, []),
    ],
)
def test_differences_are_those_that_change_bits(
    recorded: dict[str, Any], change: dict[str, Any], differing: list[str]
) -> None:
    assert environment.differences(recorded, recorded | change) == differing


def test_virtual_devices_are_made_only_without_an_accelerator() -> None:
    count = "--xla_force_host_platform_device_count="
    before = {"XLA_FLAGS": f"--xla_dump_to=/nowhere {count}2"}
    assert f"{count}4" not in (prepared("prepare(8, devices=4)", before, ON_A_GPU)["XLA_FLAGS"] or "")
    flags = prepared("prepare(8, devices=4)", before)["XLA_FLAGS"] or ""
    assert flags.split()[:2] == ["--xla_dump_to=/nowhere", f"{count}4"]
    with pytest.raises(AssertionError):
        prepared("prepare(4, devices=8)")


@pytest.mark.parametrize(
    ("then", "now", "differing"),
    [
        ({}, {"model": 2}, ["mesh.model 1 → 2"]),
        ({"model": 4, "stage": 2}, {"model": 2}, ["mesh.model 4 → 2", "mesh.stage 2 → 1"]),
        ({"sequence": 2}, {"sequence": 2}, []),
    ],
)
def test_a_layout_that_changes_bits_is_a_difference(
    then: dict[str, Any], now: dict[str, Any], differing: list[str]
) -> None:
    assert environment.differences(CPU | {"layout": then}, CPU | {"layout": now}) == differing


def test_a_layout_that_changes_bits_has_its_reason() -> None:
    then: dict[str, Any] = {"layout": {}}
    now = {"layout": {"data": 4, "zero": 3}, "inelastic": "model.attention=memory"}
    expected = ["mesh.data 1 → 4, on which bits depend with model.attention=memory"]
    assert environment.differences(CPU | then, CPU | now) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(("JAX_NUM_CPU_DEVICES", value) for value in ("abc", "1.5", " ")),
        ("XLA_FLAGS", "--xla_force_host_platform_device_count=many"),
    ],
)
def test_an_invalid_number_of_devices_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=rf"^{variable}=.*: expected a whole number of devices; 1 would do"):
        environment.check(8)


@pytest.mark.parametrize(("platforms", "extra"), [("cuda", "cuda"), ("tpu", "tpu"), (" gpu , rocm", "cuda")])
def test_a_platform_without_its_plugin_is_refused_at_once(
    platforms: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(environment, "_plugins", list)
    with pytest.raises(UserError) as caught:
        environment.check(8)
    assert str(caught.value).startswith(f"JAX_PLATFORMS={platforms}: JAX has no such platform here: ")
    assert installation(extra) in str(caught.value)
    monkeypatch.setattr(environment, "_plugins", lambda: ["xla_cuda13", "libtpu"])
    monkeypatch.setattr(environment, "_TPU_FILES", (__file__,))
    environment.check(8)


@pytest.mark.parametrize(
    ("platforms", "plugins"), [("", []), ("cpu", []), ("cuda,cpu", []), ("proxy", []), ("other", ["other_plugin"])]
)
def test_a_platform_that_may_exist_is_left_to_jax(
    platforms: str, plugins: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(environment, "_plugins", lambda: plugins)
    environment.check(8)


@pytest.mark.parametrize(
    ("platform", "reason"),
    [("tpu", ": there is no TPU"), ("cud", r" \(did you mean 'cuda'\?\)"), ("xyz", ": the name is unknown")],
)
def test_a_platform_that_cannot_exist_is_refused(platform: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    monkeypatch.setattr(environment, "_plugins", lambda: ["libtpu"])
    monkeypatch.setattr(environment, "_TPU_FILES", ("/nowhere/accel*",))
    with pytest.raises(UserError, match=f"^JAX_PLATFORMS={platform}: JAX has no such platform here{reason}; "):
        environment.check(8)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--xla_foo=1", "unknown flag --xla_foo=1"),
        ("--xla_foo --xla_dump_to=x --xla_bar", "unknown flags --xla_foo --xla_bar"),
        ("--xla_backend_optimization_level=x", "XLA cannot interpret value x for flag xla_backend_optimization_level"),
    ],
)
def test_flags_that_xla_would_abort_for_are_named(flags: str, reason: str) -> None:
    program = """
from palmetto.host import environment
from palmetto.errors import UserError
try:
    environment.prepare(8)
except UserError as error:
    print(error)
"""
    message = run(program, {"XLA_FLAGS": flags})
    assert message == f"XLA_FLAGS: {reason}; leave it out, or give one that this jaxlib knows\n"


@pytest.mark.parametrize(
    ("variable", "advice"), [("JAX_PLATFORMS", "; JAX_PLATFORMS=cpu would do"), ("JAX_DEBUG_NANS", "")]
)
def test_jax_that_cannot_start_is_reported_in_one_line(variable: str, advice: str) -> None:
    program = f"""
import os
from palmetto.host import environment
from palmetto.errors import UserError
os.environ[{variable!r}] = "nonsense"
environment._plugins = lambda: ["a_plugin_of_another"]
environment.prepare(8)
try:
    environment.record()
except UserError as error:
    print(error)
"""
    message = run(program)
    assert "cannot start here: " in message
    assert variable in message
    assert "nonsense" in message
    assert message.endswith(f"{advice}\n")


def test_more_threads_than_the_system_allows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_most_threads", lambda: 5000)
    environment.check(2500)
    with pytest.raises(
        UserError, match=r"^training\.threads=3000: .* 5000 are allowed here; a machine .* 6000 would do"
    ):
        environment.check(3000)
    monkeypatch.setattr(environment, "_most_threads", lambda: None)
    environment.check(3000)
