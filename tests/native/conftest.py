"""Set-up that the tests of kernels share: each instruction set that this machine has."""

import ctypes
from collections.abc import Callable, Iterator

import pytest

from palmetto.native.build import build
from palmetto.native.library import kernels
from tests.conftest import slow_but

SETS = {"avx2": 1, "avx512": 2, "avx512_bf16": 3, "amx": 4}

Choose = Callable[[str, int], None]


@pytest.fixture
def choose() -> Iterator[Choose]:
    """Chooses an instruction set and the number of threads; a test is skipped without that set."""
    if not kernels().instruction_set:
        pytest.skip(kernels().reason)
    library = ctypes.CDLL(str(build()))

    def chosen(name: str, threads: int) -> None:
        if library.palmetto_choose(SETS[name], threads) != SETS[name]:
            pytest.skip(f"this machine has no {name}")

    yield chosen
    library.palmetto_choose(max(SETS.values()), 2)


@pytest.fixture(params=slow_but([kernels().instruction_set or "avx2"], SETS))
def instruction_set(request: pytest.FixtureRequest, choose: Choose) -> str:
    """Chooses each instruction set in turn, with two threads; the quick tests have the newest of this machine."""
    choose(request.param, 2)
    return str(request.param)
