"""Prepares the environment before JAX is imported, and records the part of it on which bits depend.

XLA's CPU code splits matrix products by the size of its thread pool and by the instruction set, so a run fixes both and
keeps them when it resumes. This module must not import JAX before `record` is called.
"""

import contextlib
import ctypes
import gc
import glob
import importlib.util
import os
import pkgutil
import platform
import re
import resource
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from palmetto.errors import UserError, nearest
from palmetto.host import variables
from palmetto.host.extras import installation
from palmetto.native import library

# Options of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8

_DEVICE_COUNT = "--xla_force_host_platform_device_count="
# Otherwise XLA skips some roundings to bfloat16 or float16, depending on which operations it compiles together.
_ROUNDING = "--xla_allow_excess_precision=false"
# From jaxlib 0.11 on XLA's library of matrix products would otherwise choose among routines that round differently, and
# parts of a batch, or a single expert, would differ in their last bits. 0.10 does without, and has other bits with it.
_CONSISTENT_PRODUCTS = "--xla_cpu_enable_platform_dependent_math=false"
_FIRST_INCONSISTENT = (0, 11)
# On a busy machine a virtual device can reach a collective late, and XLA would end the process after 40 seconds. The
# concurrency-optimized scheduler lets independent collectives of a loop overlap; XLA confuses them, since they all have
# channel 1, and ends the process.
_COLLECTIVES = (
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    "--xla_cpu_collective_timeout_seconds=600",
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
)
# Tracing makes millions of objects, most of which stay alive. With Python's threshold of 700, garbage collection took
# a tenth of a short run.
_OBJECTS_BETWEEN_COLLECTIONS = 20_000
# XLA may start this many threads for each thread of its pool.
_THREADS_EACH = 2
# JAX's names of platforms other than the CPU, and the plugin that each needs.
_PLUGINS = {"cuda": "xla_cuda", "gpu": "xla_", "rocm": "xla_rocm", "tpu": "libtpu"}
_BUILT_IN = ("cpu", "proxy")
"""Platforms without a plugin; "proxy" is Pathways."""
_TPU_FILES = ("/dev/accel*", "/dev/vfio/[0-9]*")
# The extra that installs each platform.
_EXTRAS = {"cuda": "cuda", "gpu": "cuda", "tpu": "tpu"}
_OF_AXES = ("zero", "schedule")
"""The parts of a layout that exist only if an axis is divided."""
_GPU_FLAGS = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_exclude_nondeterministic_ops=true")

# A device file of each kind of accelerator, and the prefix of the JAX plugin that it needs.
_ACCELERATORS = (
    ("/dev/nvidia0", "xla_cuda"),
    ("/dev/kfd", "xla_rocm"),
    ("/dev/accel0", "libtpu"),
    ("/dev/vfio/0", "libtpu"),
)

# XLA's names of instruction sets, smallest first, and the processor flag that shows each.
_INSTRUCTION_SETS = (
    ("SSE4_2", "sse4_2"),
    ("AVX", "avx"),
    ("AVX2", "avx2"),
    ("AVX512", "avx512f"),
    ("AVX512_VNNI", "avx512_vnni"),
    ("AVX512_BF16", "avx512_bf16"),
    ("AMX", "amx_tile"),
    ("AMX_FP16", "amx_fp16"),
)


def prepare(threads: int, recorded: dict[str, Any] | None = None, devices: int = 1) -> None:
    """Sets the environment variables that JAX reads when it is imported.

    threads: the size of XLA's CPU thread pool; it must not change once JAX is imported. recorded: the result of
    `record` when the run began; its instruction set is kept if this machine has it, and XLA's products if it used them.
    devices: the number of virtual devices if there is only a CPU. Raises UserError if there are more virtual devices
    than threads, if a variable would change what a run computes, and in the cases of `check`.
    """
    variables.check()
    library.check()
    check(threads)
    flags = variables.flags()
    if "jax" not in sys.modules and devices > _virtual_devices() and not _has_accelerator():
        flags = [flag for flag in flags if not flag.startswith(_DEVICE_COUNT)]
        os.environ["XLA_FLAGS"] = " ".join([*flags, f"{_DEVICE_COUNT}{devices}", *_COLLECTIVES])
    devices = _virtual_devices()
    if devices > threads:
        raise UserError(
            f"training.threads={threads}: fewer than the {devices} CPU devices asked for (XLA's pool would grow with "
            f"them, and bits would change); a mesh of at most {threads} would do, or several --processes sharing it, "
            f"or for a new run training.threads={devices}"
        )
    if "jax" in sys.modules:
        assert os.environ.get("NPROC") == str(threads), "the thread pool is fixed before jax is imported"
        return
    os.environ["NPROC"] = str(threads)
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    _keep_freed_memory()
    flags = [*variables.flags(), *_pinned_flags()]  # the last of several flags with one name counts
    if _has_accelerator():
        # By default GPUs round float32 factors to 19 bits and TPUs to 16.
        os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "float32")
    else:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    if recorded and (kept := recorded.get("instruction_set")) in available_instruction_sets()[:-1]:
        flags.append(f"--xla_cpu_max_isa={kept}")
    if recorded and products_of(recorded) == library.XLA_NAME:
        os.environ[library.VARIABLE] = library.XLA
    os.environ["XLA_FLAGS"] = " ".join(flags)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def check(threads: int) -> None:
    """Raises UserError for settings with which JAX would fail to start or XLA would abort. Imports and sets nothing."""
    if (most := _most_threads()) is not None and _THREADS_EACH * threads > most:
        raise UserError(
            f"training.threads={threads}: XLA starts up to {_THREADS_EACH} threads for each, and no more than "
            f"{most} are allowed here; a machine that allows {_THREADS_EACH * threads} would do, or for a new "
            "run training.threads=8"
        )
    devices = _virtual_devices()
    variables.check_known(ours=(f"{_DEVICE_COUNT}{devices}", *_COLLECTIVES, *_pinned_flags()))
    asked = os.environ.get("JAX_PLATFORMS", "")
    names = [name.strip() for name in asked.split(",") if name.strip()]
    obstacles = [_obstacle(name) for name in names]
    if names and all(obstacles):
        raise UserError(
            f"JAX_PLATFORMS={asked}: JAX has no such platform here{obstacles[0]}; JAX_PLATFORMS=cpu would do"
        )


def _most_threads() -> int | None:
    """Returns how many threads this process may have, the least of the system's limits, or None if none is known."""
    limits = []
    for file in ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max", "/proc/sys/kernel/threads-max"):
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
            limits.append(int(Path(file).read_text()))
    mine = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if mine != resource.RLIM_INFINITY and os.geteuid() != 0:  # the limit does not hold for root
        limits.append(mine)
    return min(limits, default=None)


def _obstacle(platform: str) -> str:
    """Returns why JAX cannot use a platform here, as the end of a message, or an empty string if it may be able to."""
    plugins = _plugins()
    if plugin := _PLUGINS.get(platform):
        if not any(name.startswith(plugin) for name in plugins):
            extra = _EXTRAS.get(platform)
            return f": {installation(extra)} would bring it" if extra else ": its plugin is not installed"
        return ": there is no TPU" if platform == "tpu" and not any(map(glob.glob, _TPU_FILES)) else ""
    others = [name for name in plugins if not name.startswith(tuple(_PLUGINS.values()))]
    return "" if platform in _BUILT_IN or others else nearest(platform, _PLUGINS) or ": the name is unknown"


def available_instruction_sets() -> list[str]:
    """Returns this machine's instruction sets by XLA's names, smallest first, or an empty list if they are unknown."""
    try:
        flags = set(re.findall(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[0].split())
    except (OSError, IndexError):
        return []
    return [name for name, flag in _INSTRUCTION_SETS if flag in flags]


def record(layout: dict[str, Any] | None = None, inelastic: str = "") -> dict[str, Any]:
    """Returns what bits depend on besides the recipe and the text, with some facts about the machine. Imports JAX.

    layout: the part of the mesh on which bits depend (`Recipe.mesh_record`). inelastic: the settings for which data and
    pods are part of it (`Recipe.inelastic`). Raises UserError if JAX cannot start.
    """
    jax, device = _start()
    capped = re.findall(r"--xla_cpu_max_isa=(\w+)", " ".join(variables.flags()))
    known = available_instruction_sets()
    return {
        "jaxlib": metadata.version("jaxlib"),
        "jax": jax.__version__,
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "layout": layout or {},
        **({"inelastic": inelastic} if inelastic else {}),
        "threads": int(os.environ.get("NPROC", "0")),
        "instruction_set": capped[-1] if capped else known[-1] if known else platform.machine(),
        "products": library.XLA_NAME if layout and "model" in layout else products(device.platform),
        "variables": variables.record(ours=(*_COLLECTIVES, *_pinned_flags())),
        "palmetto": metadata.version("palmetto"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def _start() -> tuple[ModuleType, Any]:
    """Returns JAX and its first device. Raises UserError, with JAX's own reason, if it has none."""
    try:
        import jax

        return jax, jax.devices()[0]
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0] or "it has no such platform"
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(f"JAX_PLATFORMS={asked}: JAX cannot start here: {reason}; JAX_PLATFORMS=cpu would do") from None
    except ValueError as error:  # its message names the variable
        raise UserError(f"JAX cannot start here: {error}") from None


def differences(recorded: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Returns the differences between two records because of which bits may differ.

    Variables are compared only if they were recorded; older versions did not record them. Nor did they record products,
    which were XLA's.
    """
    recorded, here = ({**record, "products": products_of(record)} for record in (recorded, here))
    on_cpu = recorded.get("platform") == "cpu"
    keys = ["jaxlib", "platform", *(["threads", "instruction_set", "products"] if on_cpu else ["device"])]
    changed = [f"{key} {recorded.get(key)} → {here.get(key)}" for key in keys if recorded.get(key) != here.get(key)]
    then, now = recorded.get("layout", {}), here.get("layout", {})
    why = here.get("inelastic") or recorded.get("inelastic")
    reason = {key: f", on which bits depend with {why}" for key in ("pod", "data") if why}
    changed += [
        f"mesh.{key} {then.get(key, 1)} → {now.get(key, 1)}{reason.get(key, '')}"
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key) and (key not in _OF_AXES or (key in then and key in now))
    ]
    now = here.get("variables", {})
    then = recorded.get("variables", now)
    return changed + [
        f"{name} {then.get(name, 'unset')} → {now.get(name, 'unset')}"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]


def products(platform: str) -> str:
    """Returns the name of the matrix products on a JAX platform, if one device computes whole products."""
    return library.kernels().name if platform == "cpu" else library.XLA_NAME


def products_of(recorded: dict[str, Any]) -> str:
    """Returns the name of the matrix products of a record."""
    return recorded.get("products", library.XLA_NAME)


def _pinned_flags() -> tuple[str, ...]:
    """Returns the flags that every run on this kind of device has, whatever XLA_FLAGS says."""
    if _has_accelerator():
        return _GPU_FLAGS
    jaxlib = tuple(map(int, metadata.version("jaxlib").split(".")[:2]))
    return (_ROUNDING, _CONSISTENT_PRODUCTS) if jaxlib >= _FIRST_INCONSISTENT else (_ROUNDING,)


def _keep_freed_memory() -> None:
    """Makes glibc keep the memory that XLA frees after a step, so that the next step needs no fresh pages.

    On a CPU the fresh pages cost a fifth of a step's time (docs/decisions.md). Without glibc this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in ((_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 1 << 29)):
        libc.mallopt(option, value)


def _has_accelerator() -> bool:
    """Returns whether JAX would use an accelerator: one exists, its plugin is installed, JAX_PLATFORMS is not cpu."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    plugins = _plugins()
    return any(
        os.path.exists(path) and any(plugin.startswith(name) for plugin in plugins) for path, name in _ACCELERATORS
    )


def _plugins() -> list[str]:
    """Returns the names of the installed JAX plugins, from their common folder and from packages' entry points."""
    folder = importlib.util.find_spec("jax_plugins")
    found = [plugin.name for plugin in pkgutil.iter_modules(folder.submodule_search_locations if folder else [])]
    found += [point.value.rpartition(".")[2] for point in metadata.entry_points(group="jax_plugins")]
    return found + ["libtpu"] * (importlib.util.find_spec("libtpu") is not None)


def _virtual_devices() -> int:
    """Returns how many virtual devices the environment asks for. Raises UserError if that is not a number."""
    flags = re.findall(rf"{_DEVICE_COUNT}(\S*)", " ".join(variables.flags()))
    given = [(f"XLA_FLAGS={_DEVICE_COUNT}", flag) for flag in flags]
    given.append(("JAX_NUM_CPU_DEVICES=", os.environ.get("JAX_NUM_CPU_DEVICES") or "1"))
    for name, count in given:
        if not re.fullmatch(r"-?[0-9]{1,6}", count):
            raise UserError(f"{name}{count}: expected a whole number of devices; 1 would do")
    return max(1, *(int(count) for _, count in given))
