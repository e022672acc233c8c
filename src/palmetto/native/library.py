"""The library of kernels: whether it can be used here, with which instruction set, and its functions as XLA calls them.

This module imports JAX only when the library is loaded.
"""

import ctypes
import functools
import os
import platform
import re
from typing import NamedTuple

from palmetto.errors import UserError
from palmetto.native.build import NotBuilt, build, is_missing

VARIABLE = "PALMETTO_PRODUCTS"
"""The environment variable that chooses the matrix products of a CPU."""

XLA, NATIVE = "xla", "native"
"""Its values."""

XLA_NAME = "XLA"
"""The name of XLA's products in the record of a run."""

_SYSTEM = "Linux x86_64"

_SETS = ("", "avx2", "avx512", "avx512_bf16", "amx")
"""The instruction sets of the kernels, in the order of kernels/cpu.h."""

_LIMITS = {"AVX2": 1, "AVX512": 2, "AVX512_VNNI": 2, "AVX512_BF16": 3, "AMX": 4, "AMX_FP16": 4}
"""The largest of these for each limit that XLA can be given; below the first there is none."""

_FUNCTIONS = (
    "product",
    "packed_products",
    "swiglu",
    "swiglu_backward",
    "cross_entropy",
    "log_sum",
    "largest",
    "attention",
    "attention_backward",
    "attend_blocks",
    "normalize",
    "normalize_backward",
    "turn_apart",
    "turn_back",
    "adafactor",
    "adamw",
)
"""The functions for XLA; their names begin with palmetto_."""


class Kernels(NamedTuple):
    """Says which kernels a CPU computes with."""

    instruction_set: str | None
    """The instruction set of the kernels of this package, or None if XLA's products are used."""
    reason: str = ""
    """The reason why there is no instruction set."""

    @property
    def name(self) -> str:
        """The name of the products in the record of a run."""
        return f"native {self.instruction_set}" if self.instruction_set else XLA_NAME


def check() -> None:
    """Raises UserError if the environment variable has an unknown value."""
    if (value := os.environ.get(VARIABLE, NATIVE)) not in (XLA, NATIVE):
        raise UserError(f"{VARIABLE}={value}: expected {XLA} or {NATIVE}")


def will_compile() -> bool:
    """Returns whether the first call of `kernels` compiles the library, which takes seconds."""
    return os.environ.get(VARIABLE) != XLA and _system() == _SYSTEM and is_missing()


def kernels() -> Kernels:
    """Returns the kernels that are used here; the first call may build the library, and loads it."""
    check()
    if os.environ.get(VARIABLE) == XLA:
        return Kernels(None, f"{VARIABLE}={XLA}")
    limits = re.findall(r"--xla_cpu_max_isa=(\S+)", os.environ.get("XLA_FLAGS", ""))
    return _loaded(limits[-1].upper() if limits else "")


@functools.cache
def _loaded(limit: str) -> Kernels:
    """Loads the library, with the largest instruction set up to XLA's limit of that name, "" for none."""
    if _system() != _SYSTEM:
        return Kernels(None, f"{_system()}: kernels are written for {_SYSTEM}")
    try:
        library = _load()
    except (NotBuilt, OSError) as error:
        return Kernels(None, str(error))
    found = library.palmetto_choose(_LIMITS.get(limit, 0) if limit else len(_SETS) - 1, _threads())
    if not found:
        return Kernels(None, f"--xla_cpu_max_isa={limit}" if limit else "the processor lacks AVX2")
    import jax

    for name in _FUNCTIONS:
        function = jax.ffi.pycapsule(getattr(library, f"palmetto_{name}"))
        jax.ffi.register_ffi_target(f"palmetto_{name}", function, platform="cpu")
    return Kernels(_SETS[found])


def _load() -> ctypes.CDLL:
    """Returns the library, built anew if its file is damaged."""
    file = build()
    try:
        return ctypes.CDLL(str(file))
    except OSError:
        file.unlink(missing_ok=True)
        return ctypes.CDLL(str(build()))


def _system() -> str:
    return f"{platform.system()} {platform.machine()}"


def _threads() -> int:
    """Returns the number of threads that kernels compute on at a time: those of XLA's pool that cores are free for."""
    cores = len(os.sched_getaffinity(0))
    return min(cores, int(os.environ.get("NPROC") or cores))
