"""The environment variables of JAX, XLA and the libraries below them on which the bits of a run can depend.

Variables that change what is computed (random numbers, types, the rules of arithmetic) are refused. Others may change
how it is computed. They are allowed, recorded when a run begins, and compared later. This module must not import JAX.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from palmetto.errors import UserError

_YES, _NO = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off")

_REQUIRED: Mapping[str, Sequence[str]] = {
    "JAX_DEFAULT_PRNG_IMPL": ("threefry2x32",),
    "JAX_DISABLE_JIT": _NO,
    "JAX_ENABLE_X64": _NO,
    "JAX_HIGH_DYNAMIC_RANGE_GUMBEL": _NO,
    "JAX_NO_EXECUTION": _NO,
    "JAX_NUMPY_DTYPE_PROMOTION": ("standard",),
    "JAX_RANDOM_SEED_OFFSET": ("0",),
    "JAX_THREEFRY_PARTITIONABLE": _YES,
}
"""The allowed values of each variable: the spellings of JAX's default, JAX's own first."""

_REQUIRED_FLAGS: Mapping[str, Sequence[str]] = {"--xla_cpu_enable_fast_math": _NO, "--xla_gpu_enable_fast_math": _NO}

_FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
"""Variables that hold flags, or the name of a file of flags."""

_OTHERS = ("NVIDIA_TF32_OVERRIDE", "NCCL_ALGO", "NCCL_PROTO", "ONEDNN_DEFAULT_FPMATH_MODE", "GLIBC_TUNABLES")
"""Variables that the libraries below XLA read."""

_WITHOUT_EFFECT = (
    "JAX_CHECK_PROXY_ENVS",
    "JAX_COMPILATION_CACHE_",
    "JAX_COMPILER_DETAILED_LOGGING_",
    "JAX_COORDINATOR_",
    "JAX_CPU_COLLECTIVES_IMPLEMENTATION",  # `processes.join` chooses
    "JAX_CPU_ENABLE_ASYNC_DISPATCH",
    "JAX_CPU_GET_",
    "JAX_CUDA_VISIBLE_DEVICES",
    "JAX_DEBUG_LOG_MODULES",
    "JAX_DISTRIBUTED_DEBUG",
    "JAX_DUMP_",
    "JAX_ENABLE_COMPILATION_CACHE",
    "JAX_EXPLAIN_CACHE_MISSES",
    "JAX_LOCAL_DEVICE_IDS",
    "JAX_LOG_",
    "JAX_LOGGING_LEVEL",
    "JAX_NUM_CPU_DEVICES",
    "JAX_NUM_PROCESSES",
    "JAX_PERSISTENT_CACHE_",
    "JAX_PLATFORM",  # recorded as what it leads to
    "JAX_PROCESS_ID",
    "JAX_RAISE_PERSISTENT_CACHE_ERRORS",
    "JAX_ROCM_VISIBLE_DEVICES",
    "JAX_TRACEBACK_",
    "--xla_cpu_collective_call_",
    "--xla_cpu_collective_timeout_",
    "--xla_cpu_max_isa",  # recorded as the instruction set
    "--xla_dump_",
    "--xla_force_host_platform_device_count",
)
"""Prefixes of the variables and flags on which no bits depend."""


def check() -> None:
    """Raises UserError if a variable or flag would change what a run computes; the message gives the allowed value."""
    for name, allowed in _REQUIRED.items():
        if (value := os.environ.get(name)) is not None and value.lower() not in allowed:
            raise UserError(f"{name}={value}: would change what a run computes; unset it, or set it to {allowed[0]}")
    for variable in _FLAGS:
        for name, value in by_name(flags(variable)).items():
            if value.lower() not in (allowed := _REQUIRED_FLAGS.get(name, [value.lower()])):
                raise UserError(f"{variable}: {name}={value} would change what a run computes; leave it out")


def check_known(ours: Collection[str]) -> None:
    """Raises UserError, with XLA's own reason, if XLA_FLAGS holds flags for which XLA would abort the process.

    The flags are tried in another process, unless all of them are in `ours` or JAX has already been imported.
    """
    if "jax" in sys.modules or all(flag in ours for flag in flags()):
        return
    if reason := _refusal(os.environ["XLA_FLAGS"]):
        raise UserError(f"XLA_FLAGS: {reason}; leave it out, or give one that this jaxlib knows")


@functools.cache
def _refusal(flags: str) -> str:
    """Returns why XLA refuses a value of XLA_FLAGS, or an empty string if it accepts the value."""
    tried = subprocess.run(
        [sys.executable, "-P", "-c", "from jaxlib import _jax; _jax.CompileOptions()"],
        env=os.environ | {"XLA_FLAGS": flags},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if tried.returncode == 0:
        return ""
    said = re.findall(r"] (?:Unknown (flags? )in XLA_FLAGS: (.*)|(Couldn't .*?)\.?)$", tried.stderr, re.MULTILINE)
    unknown, names, other = said[0] if said else ("", "", f"Couldn't read them: exit code {tried.returncode}")
    return f"unknown {unknown}{names}" if names else other.replace("Couldn't", "XLA cannot")


def flags(variable: str = "XLA_FLAGS") -> list[str]:
    """Returns the flags in a variable, or in the file that it names. Raises UserError if that cannot be read."""
    text = os.environ.get(variable, "").strip()
    if text and not text.startswith("-"):
        try:
            return Path(text).read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{variable}={text}: expected flags that begin with --, or a file of them ({error})"
            ) from None
    return text.split()


def by_name(flags: Collection[str]) -> dict[str, str]:
    """Returns the value of each flag by name. The last of several counts; a flag without a value is "true"."""
    split = (flag.partition("=") for flag in flags)
    return {name: value if equals else "true" for name, equals, value in split}


def record(ours: Collection[str]) -> dict[str, str]:
    """Returns the variables and flags on which bits may depend, without the flags `ours`, which every run has."""
    known = by_name(ours)
    variables = {name: value for name, value in os.environ.items() if name.startswith("JAX_") or name in _OTHERS}
    given = {name: value for variable in _FLAGS for name, value in by_name(flags(variable)).items()}
    given = {name: value for name, value in given.items() if known.get(name) != value}
    found = variables | given
    return {
        name: found[name]
        for name in sorted(found)
        if not name.startswith(_WITHOUT_EFFECT) and name not in _REQUIRED and name not in _REQUIRED_FLAGS
    }
