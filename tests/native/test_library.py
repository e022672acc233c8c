"""Tests which products a process uses, and that those of XLA are used without the kernels."""

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.native import build, library
from palmetto.native.library import kernels

SAY = """
import json
from palmetto.host import environment
environment.prepare(2, {recorded})
from palmetto.model import tuning
from palmetto.native.library import kernels
record = environment.record()
print(json.dumps([record["products"], kernels().reason, tuning.for_platform("cpu").native]))
"""


def said(recorded: dict[str, Any] | None = None, **variables: str) -> tuple[str, str, bool]:
    """Returns products, reason and tuning in a process of its own with these environment variables."""
    kept = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC", library.VARIABLE)}
    program = SAY.format(recorded=recorded)
    done = subprocess.check_output([sys.executable, "-c", program], env=kept | {"JAX_PLATFORMS": "cpu"} | variables)
    products, reason, native = json.loads(done)
    return products, reason, native


def test_a_machine_without_a_compiler_uses_xla() -> None:
    assert said(CXX="/nonexistent") == ("XLA", "CXX=/nonexistent: no such compiler", False)


def test_the_kernels_compile_where_a_compiler_is_new_enough() -> None:
    """Otherwise an error in them would only skip the other tests."""
    try:
        version = subprocess.check_output([*build.find_compiler(), "-dumpversion"], text=True)
    except build.NotBuilt as reason:
        pytest.skip(str(reason))
    if int(version.partition(".")[0]) < 12 or platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip(f"compiler {version.strip()} on {platform.system()} {platform.machine()}")
    assert build.build().exists()


def test_the_variable_turns_the_kernels_off() -> None:
    assert said(PALMETTO_PRODUCTS="xla") == ("XLA", "PALMETTO_PRODUCTS=xla", False)


def test_another_value_of_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, "mkl")
    with pytest.raises(UserError, match="PALMETTO_PRODUCTS=mkl: expected xla or native"):
        library.check()


@pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason)
@pytest.mark.slow
def test_the_kernels_keep_to_the_instruction_set_of_the_run() -> None:
    assert said()[2]
    assert said(XLA_FLAGS="--xla_cpu_max_isa=AVX2") == ("native avx2", "", True)
    assert said(XLA_FLAGS="--xla_cpu_max_isa=AVX") == ("XLA", "--xla_cpu_max_isa=AVX", False)
    assert said({"instruction_set": "AVX2", "products": "native avx2"})[0] == "native avx2"


@pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason)
def test_a_run_that_began_with_products_of_xla_keeps_them() -> None:
    assert said({"instruction_set": "AVX2"})[0] == "XLA"
    assert said({"products": "XLA"})[0] == "XLA"
