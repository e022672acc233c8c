"""Tests the exponential function of the kernels against float64."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

from palmetto.native.build import KERNELS, find_compiler
from palmetto.native.library import kernels

pytestmark = pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason)

OPTIONS = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"]}
PROGRAM = """
#include "vectors.h"
extern "C" void exponentials(const float* from, float* to, int64_t count) {
  using namespace palmetto;
  for (int64_t i = 0; i < count; i += 16) store(to + i, exponential(load(from + i)));
}
"""


@pytest.mark.parametrize("instruction_set", OPTIONS)
def test_exponentials_are_exact_to_two_units(instruction_set: str, tmp_path: Path) -> None:
    if instruction_set == "avx512" and kernels().instruction_set == "avx2":
        pytest.skip("the processor lacks it")
    source, library = tmp_path / "exponentials.cc", tmp_path / "exponentials.so"
    source.write_text(PROGRAM)
    options = ["-std=c++17", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-w", f"-I{KERNELS}"]
    subprocess.run([*find_compiler(), *options, *OPTIONS[instruction_set], str(source), "-o", str(library)], check=True)

    random = np.random.default_rng(0)
    dense = np.concatenate([random.uniform(-87.3, 0, 2**21), -np.logspace(-12, 1.9, 2**20), np.linspace(0, 80, 2**16)])
    special = np.array([0, -0.0, -87.4, -1e4, -np.inf, np.nan, np.float32(-1e-40), -88] * 2)
    x = np.concatenate([special, dense]).astype(np.float32)
    y = np.empty_like(x)
    pointer = ctypes.POINTER(ctypes.c_float)
    ctypes.CDLL(str(library)).exponentials(x.ctypes.data_as(pointer), y.ctypes.data_as(pointer), ctypes.c_int64(len(x)))
    assert y[0] == y[1] == y[6] == 1
    assert (y[2:5] == 0).all()
    assert np.isnan(y[5])
    assert y[7] == 0
    exact = np.exp(x[16:].astype(np.float64))
    units = np.abs(y[16:] - exact) / np.spacing(exact.astype(np.float32))
    assert units.max() <= 2
