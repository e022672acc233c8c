"""Tests that an export needs memory for its largest tensor, not for the model."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from palmetto.model.weights import Parameters
from tests.conftest import need_devices
from tests.references import exported

WIDTH, INNER, LAYERS = 512, 8192, 8
LARGEST = 4 * WIDTH * INNER
"""The bytes of the largest weight."""
ROOM = int(3.5 * LARGEST)
"""Bounds what the export may add to the memory in use: 64 GiB are 3.6 of palm-540b's largest matrix, of 18.9 GB."""
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""Has glibc map each array by itself, so that tensors find little room in memory that was freed before the limit."""
SMALL_STACKS = ("sh", "-c", 'ulimit -s 1024; exec "$0" "$@"')
"""Runs a command whose threads have small stacks, which count; their number depends on the machine's load."""
EXPORT = r"""
import resource, re, sys
from pathlib import Path
from palmetto.host import environment
environment._keep_freed_memory = lambda: None  # half a gigabyte, in which the whole model would find room
environment.prepare(1)
from palmetto.interop.export import export
from palmetto.runs.directory import RunDirectory
small, large, out, target, room = *map(Path, sys.argv[1:4]), sys.argv[4], int(sys.argv[5])
export(RunDirectory(small), target, out / "small", None, "bfloat16")  # which starts what stays
used = int(re.search(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + room, used + room))
try:
    sys.exit(f"{len(bytearray(2 * room))} bytes were to be had: the limit does not bind")
except MemoryError:
    pass
export(RunDirectory(large), target, out / "large", None, "bfloat16")
"""


def sharded(parameters: Parameters) -> Parameters:
    """Returns the parameters with their last axes divided over two devices, each of which writes its part."""
    mesh = Mesh(jax.devices()[:2], "x")
    return {
        name: jax.device_put(array, NamedSharding(mesh, PartitionSpec(*[None] * (array.ndim - 1), "x")))
        for name, array in parameters.items()
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_sharded_checkpoint_is_exported_in_little_memory(tmp_path: Path) -> None:
    need_devices(2)
    sizes = {"d_model": WIDTH, "d_ff": INNER, "heads": 4}
    small, large = (
        exported.made(tmp_path / str(layers), exported.recipe(sizes | {"layers": layers}), place=sharded)
        for layers in (1, LAYERS)
    )
    assert sum(file.stat().st_size for file in large.checkpoints.rglob("*")) > 6 * ROOM

    for target in ("huggingface", "gguf", "ctranslate2"):
        arguments = [small.path, large.path, tmp_path / target, target, ROOM]
        command = [*SMALL_STACKS, sys.executable, "-c", EXPORT, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=exported.outside() | MALLOC)
        assert done.returncode == 0, done.stderr[-2000:]
