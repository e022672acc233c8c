"""Compiles a step of a recipe for accelerators that this machine does not have, in a child process.

The child's environment keeps `import jax` from looking for a TPU if libtpu is installed, and gives a topology of GPUs
as many virtual devices. `python -m palmetto.planning.compile DIR PARENT` reads DIR/recipe.yaml and DIR/request.json,
and writes DIR/result.json and DIR/program.hlo.
"""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palmetto import files
from palmetto.errors import RunStopped, UserError
from palmetto.host import children
from palmetto.host.extras import installation
from palmetto.planning.inference.phases import Phase
from palmetto.planning.network import topology
from palmetto.planning.network.networks import Coordinates
from palmetto.planning.network.topology import Topology
from palmetto.planning.program import hlo
from palmetto.planning.program.hlo import Program
from palmetto.recipe import Recipe, loading
from palmetto.recipe.model import Weights

if TYPE_CHECKING:
    from palmetto.planning.lowering import Lowered


class Compiled(NamedTuple):
    """The compiled program of a step."""

    program: Program
    seconds: float
    """The time of compilation."""
    memory: dict[str, int]
    """Bytes on one chip: "arguments" (state and batch, or weights and cache), "temporaries" (everything else at the
    peak, with results that do not reuse an argument's memory), "code", and their sum, the "peak". For GPUs these are
    the bytes of XLA's program for CPUs, an upper bound (docs/scale.md)."""
    devices: tuple[Coordinates, ...]
    """The coordinates of the devices, in the order of their numbers in the program."""


class DoesNotFit(NamedTuple):
    """The result if a program needs more memory than a chip has. Bytes are those of one chip."""

    seconds: float
    """The time of compilation."""
    arguments: int
    """The bytes of state and batch, without the padding of tiles."""
    needed: int
    """The bytes that the compiler needs in all."""
    available: int
    """The bytes that the compiler has."""


def require_compiler(on: Topology) -> None:
    """Raises UserError if the compiler for a topology is not installed."""
    if not on.is_gpu and importlib.util.find_spec("libtpu") is None:
        raise UserError(f"--topology {on.name}: needs the TPU compiler, libtpu: {installation('plan')}")


def compile_step(recipe: Recipe, on: Topology, sequences: int) -> Compiled | DoesNotFit:
    """Compiles the training step of a recipe, on its mesh, for a batch of `sequences`; raises as `_compiled` does."""
    return _compiled(recipe, on, {"sequences": sequences})


def compile_phase(recipe: Recipe, on: Topology, phase: Phase, weights: Weights, layout: str) -> Compiled | DoesNotFit:
    """Compiles a step of decoding or prefill in a layout, by its name; raises as `_compiled` does."""
    return _compiled(recipe, on, {"phase": phase, "weights": weights, "layout": layout})


def _compiled(recipe: Recipe, on: Topology, what: dict[str, Any]) -> Compiled | DoesNotFit:
    """Compiles what is asked for, in values that JSON can hold.

    Raises UserError if the compiler is not installed or the recipe is refused, and RunStopped if the compiler fails, is
    killed, or writes a program that cannot be read.
    """
    require_compiler(on)
    with files.temporary_folder("palmetto-plan-") as folder:
        (folder / "recipe.yaml").write_text(loading.dump(recipe))
        request = {"topology": on.name, "slices": on.slices} | what
        (folder / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", "palmetto.planning.compile", str(folder), str(os.getpid())]
        with (folder / "log").open("w") as log:
            code = subprocess.run(command, env=_environment(on), stdout=log, stderr=log, check=False).returncode
        result = _result(folder, code)
        if "needed" in result:
            return DoesNotFit(**result)
        with hlo.reading():
            program = hlo.parse((folder / "program.hlo").read_text())
        devices = tuple(tuple(place) for place in result["devices"])
        return Compiled(program, result["seconds"], result["memory"], devices)


def _environment(on: Topology) -> dict[str, str]:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is used, so that several plans may run at the same time
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    environment.pop("XLA_FLAGS", None)
    environment["JAX_NUM_CPU_DEVICES"] = str(on.chips if on.is_gpu else 1)
    return environment


def _result(folder: Path, code: int) -> dict[str, Any]:
    if (folder / "result.json").is_file():
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        if "refused" in result:
            raise UserError(result["refused"])
        if "failed" in result:
            raise RunStopped(f"the compiler failed: {result['failed']}")
        return result
    if code < 0:
        raise RunStopped(f"the compiler was killed by signal {-code}; it may have run out of this machine's memory")
    lines = (folder / "log").read_text(errors="replace").strip().splitlines()
    raise RunStopped(f"the compiler failed: {lines[-1] if lines else f'exit code {code}'}")


def main(directory: str, parent: int) -> None:
    """Runs the child process."""
    children.end_with(parent)
    folder = Path(directory)
    request = json.loads((folder / "request.json").read_text())
    recipe, on = loading.load(str(folder / "recipe.yaml")), topology.parse(request["topology"], request["slices"])
    start = time.perf_counter()
    try:
        result = _compile(_lower(recipe, on, request), on, folder / "program.hlo")
    except UserError as error:
        result = {"refused": str(error)}
    except Exception as error:  # the parent reports any failure in one line
        result = {"failed": _reason(error)}
    (folder / "result.json").write_text(json.dumps({"seconds": time.perf_counter() - start} | result))


def _lower(recipe: Recipe, on: Topology, request: dict[str, Any]) -> "Lowered":
    """Returns the step that is asked for."""
    from palmetto.planning import lowering
    from palmetto.planning.inference import steps
    from palmetto.planning.inference.division import divide

    if not on.is_gpu:
        _take_kernels_of_tpus()
    if "sequences" in request:
        return lowering.training(recipe, on, _devices(on), request["sequences"])
    phase = Phase(*request["phase"])
    return steps.lower(recipe, _devices(on), phase, request["weights"], divide(recipe, on, phase, request["layout"]))


def _compile(lowered: "Lowered", on: Topology, program: Path) -> dict[str, Any]:
    import jax

    try:
        compiled = lowered.step.compile()
    except jax.errors.JaxRuntimeError as error:
        found = _out_of_memory(str(error))
        if found is None:
            raise
        needed, available = found
        return {"arguments": _own_bytes(lowered.given), "needed": needed, "available": available}
    program.write_text(compiled.as_text())
    return {
        "memory": _memory(compiled.memory_analysis(), on),
        "devices": [_coordinates(device, on) for device in lowered.devices],
    }


def _take_kernels_of_tpus() -> None:
    """Makes the model use the attention kernel that `train` would use on a TPU, although this process has none."""
    from palmetto.model import accelerated

    def choose(platform: str, dtype: Any, length: int, head_size: int) -> accelerated.Flash | None:
        return accelerated.splash_attention if accelerated.splash_takes(dtype, length, head_size) else None

    accelerated.choose = choose


def _memory(analysis: Any, on: Topology) -> dict[str, int]:
    arguments, code = analysis.argument_size_in_bytes, analysis.generated_code_size_in_bytes
    if on.is_gpu:  # XLA's peak for a CPU does not count temporaries
        results = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
        peak = arguments + analysis.temp_size_in_bytes + results
    else:  # a TPU's temp_size_in_bytes counts more than exists at the same time
        peak = analysis.peak_memory_in_bytes
    return {"arguments": arguments, "temporaries": peak - arguments, "code": code, "peak": peak + code}


def _own_bytes(arrays: Any) -> int:
    """Returns the bytes that one device holds of abstract arrays."""
    import jax

    return sum(
        math.prod(array.sharding.shard_shape(array.shape)) * array.dtype.itemsize for array in jax.tree.leaves(arrays)
    )


def _coordinates(device: Any, on: Topology) -> Coordinates:
    """Returns a device's slice and its place there. GPUs are numbered node by node."""
    if on.is_gpu:
        slice_, number = divmod(device.id, on.chips // on.slices)
        return (slice_, *divmod(number, on.shape[-1]))
    from palmetto.parallel.placement import coordinates

    return coordinates(device)[: 1 + len(on.shape)]


def _devices(on: Topology) -> Sequence[Any]:
    import jax
    from jax.experimental import topologies

    if on.is_gpu:
        return jax.devices()
    options: dict[str, Any] = {"num_slices": on.slices} if on.slices > 1 else {}
    if on.kind in ("v4", "v5p"):  # makes one device of the two cores of a chip
        options["chip_config_name"] = "megacore"
    devices: Sequence[Any] = topologies.get_topology_desc(platform="tpu", topology_name=on.name, **options).devices
    return devices


_OUT_OF_MEMORY = re.compile(
    r"(?:required for [^(]*\(([\d.]+)([KMGT])\) exceeds available HBM \(|memory space hbm\. Used ([\d.]+)([KMGT]) of )"
    r"([\d.]+)([KMGT])",
    re.IGNORECASE,
)


def _out_of_memory(message: str) -> tuple[int, int] | None:
    """Returns the bytes of main memory that the compiler needed and had, or None if the message says something else."""
    found = _OUT_OF_MEMORY.search(message) if "RESOURCE_EXHAUSTED" in message else None
    if found is None:
        return None
    wanted, unit, *available = (part for part in found.groups() if part)
    return _bytes(wanted, unit), _bytes(*available)


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * 1024 ** (1 + "KMGT".index(unit.upper())))


def _reason(error: Exception) -> str:
    """Returns the first line of an exception that is not empty; JAX adds notes of its own after it."""
    lines = (line.strip() for line in str(error).splitlines())
    said = next(filter(None, lines), "")
    name = type(error).__name__
    return f"{name}: {said}" if said else name


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
