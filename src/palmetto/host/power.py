"""Finds the power of this machine: from counters of energy where it has them, else from published powers of its chips.

RAPL counts the joules of a processor's packages and memory, for all programs together (Linux's powercap). NVML counts
those of a GPU. Neither is a whole machine: fans, disks and losses of the power supply are missing.
"""

import contextlib
import ctypes
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"

_WATTS = (
    ("NVIDIA H200", 700.0, "the datasheet's greatest power of an H200"),
    ("NVIDIA H100", 700.0, "the datasheet's greatest power of an H100"),
    ("NVIDIA A100", 400.0, "the datasheet's greatest power of an A100"),
    ("TPU v4", 192.0, "the greatest power of a TPU v4 (arXiv 2304.01433, table 4)"),
)
"""The power of a chip by the start of its name, and its source."""
_WATTS_A_CORE = 12.0
"""The power of a core of a processor that is not known (Green Algorithms, arXiv 2007.07610)."""


class Counter(NamedTuple):
    """Counts the energy of a part of the machine."""

    kind: str
    read: Callable[[], float]
    """Returns the joules so far, counted from any number; raises OSError or ValueError if they cannot be read."""
    end: float
    """The joules at which the counter begins again at 0."""


class Meters:
    """Adds up what counters have counted from one reading to the next."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = counters
        self._last = self._read()
        self.kinds = " and ".join(dict.fromkeys(counter.kind for counter in counters))

    def joules(self) -> float | None:
        """Returns the joules since the last reading, None if one of the two failed.

        A counter may have begun again once, not twice.
        """
        before, self._last = self._last, self._read()
        if before is None or self._last is None:
            return None
        return sum(
            now - then if now >= then else now - then + counter.end
            for counter, then, now in zip(self._counters, before, self._last, strict=True)
        )

    def _read(self) -> list[float] | None:
        try:
            return [counter.read() for counter in self._counters]
        except (OSError, ValueError):  # a driver may stop to answer, and training goes on
            return None


def meters(platform: str, powercap: Path = POWERCAP, nvml: str = NVML) -> Meters | None:
    """Returns meters of what a JAX platform computes with, or None if this machine lets none of it be read.

    On GPUs the processor's counters are added where they can be read.
    """
    gpus = _nvml(nvml) if platform in ("gpu", "cuda") else []
    if platform != "cpu" and not gpus:
        return None
    found = [*gpus, *_rapl(powercap)]
    return Meters(found) if found else None


def watts_of(device: str, cores: int) -> tuple[float, str] | None:
    """Returns the power of a chip and where the figure is from, or None if none is published.

    device: JAX's kind of the device, or a chip's title. cores: how many cores of a processor compute.
    """
    if device == "cpu":
        return _WATTS_A_CORE * cores, f"{_WATTS_A_CORE:g} W a core, for {cores} cores"
    return next(((watts, source) for name, watts, source in _WATTS if device.startswith(name)), None)


def _rapl(powercap: Path) -> Iterator[Counter]:
    """Yields a counter for each package and each memory; other zones lie inside these, or hold them."""
    for zone in sorted(powercap.glob("intel-rapl:*")):
        with contextlib.suppress(OSError, ValueError):  # only root may read them on many machines
            name = (zone / "name").read_text().strip()
            counter = _microjoules(zone / "energy_uj")
            if name.startswith(("package", "dram")):
                counter()
                yield Counter("RAPL", counter, int((zone / "max_energy_range_uj").read_text()) / 1e6)


def _microjoules(file: Path) -> Callable[[], float]:
    return lambda: int(file.read_text()) / 1e6


def _nvml(library: str) -> list[Counter]:
    """Returns a counter for each GPU that CUDA_VISIBLE_DEVICES names, or for all; none if one of them counts nothing.

    What that variable names behind a GPU that is not there is not visible to CUDA either.
    """
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return []
    if nvml.nvmlInit_v2() != 0:
        return []
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return []
    found = []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count.value))))
    for name in filter(None, (part.strip() for part in chosen.split(","))):
        handle = ctypes.c_void_p()
        if name.isdigit():
            failed = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(handle))
        else:
            failed = nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
        if failed:
            break
        if _millijoules(nvml, handle) is None:
            return []
        found.append(Counter("NVML", _joules(nvml, handle), math.inf))
    return found


def _joules(nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> Callable[[], float]:
    def read() -> float:
        found = _millijoules(nvml, handle)
        if found is None:
            raise OSError("the GPU does not tell its energy any more")
        return found / 1e3

    return read


def _millijoules(nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> int | None:
    """Returns the energy of a GPU since its driver was loaded, or None for GPUs older than Volta."""
    value = ctypes.c_ulonglong()
    return value.value if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)) == 0 else None
