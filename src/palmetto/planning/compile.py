"""Compiles a recipe's training step for accelerators that are not here, in a process of its own.

An installed libtpu makes a plain `import jax` look for a TPU, and a layout of GPUs needs as many virtual devices: both
are settled in the child's environment. `python -m palmetto.planning.compile DIR` reads DIR/recipe.yaml and
DIR/request.json and leaves DIR/result.json and DIR/program.hlo.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palmetto import recipes
from palmetto.errors import RunStopped, UserError
from palmetto.planning import hlo, topology
from palmetto.planning.hlo import Program
from palmetto.planning.networks import Coordinates
from palmetto.planning.topology import Topology
from palmetto.recipe import Recipe


class Compiled(NamedTuple):
    """One step's program."""

    program: Program
    seconds: float
    memory: dict[str, int]
    """Bytes of one chip: arguments (state and batch), temporaries (what there is beside them at the peak, results that
    do not take an argument's place included), code, and all of it: the peak."""
    devices: tuple[Coordinates, ...]
    """In the order in which the program numbers them."""


class DoesNotFit(NamedTuple):
    """The compiler gave up: the program needs more memory than a chip has."""

    seconds: float
    needed: int
    """Bytes, by the compiler's account."""


def require_compiler(on: Topology) -> None:
    """Raises UserError where the compiler for a topology is not installed."""
    if not on.is_gpu and importlib.util.find_spec("libtpu") is None:
        raise UserError(f"--topology {on.name}: needs the TPU compiler, libtpu: pip install 'palmetto[plan]'")


def compile_step(recipe: Recipe, on: Topology, sequences: int) -> Compiled | DoesNotFit:
    """The step of a recipe's mesh for a batch of `sequences`.

    Raises UserError where the compiler is not installed or refuses the program, RunStopped where it dies.
    """
    require_compiler(on)
    with tempfile.TemporaryDirectory(prefix="palmetto-plan-") as directory:
        folder = Path(directory)
        (folder / "recipe.yaml").write_text(recipes.dump(recipe))
        request = {"topology": on.name, "slices": on.slices, "sequences": sequences}
        (folder / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", "palmetto.planning.compile", directory]
        with (folder / "log").open("w") as log:
            code = subprocess.run(command, env=_environment(on), stdout=log, stderr=log, check=False).returncode
        result = _result(folder, code)
        if needed := result.get("needed"):
            return DoesNotFit(result["seconds"], needed)
        program = hlo.parse((folder / "program.hlo").read_text())
        devices = tuple(tuple(place) for place in result["devices"])
        return Compiled(program, result["seconds"], result["memory"], devices)


def _environment(on: Topology) -> dict[str, str]:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # it drives no chip, so that several plans may be made at once
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
        return result
    if code < 0:
        raise RunStopped(f"the compiler was killed by signal {-code}; it may have run out of this machine's memory")
    lines = (folder / "log").read_text(errors="replace").strip().splitlines()
    raise RunStopped(f"the compiler failed: {lines[-1] if lines else f'exit code {code}'}")


def main(directory: str) -> None:
    """The child."""
    folder = Path(directory)
    request = json.loads((folder / "request.json").read_text())
    recipe, on = recipes.load(str(folder / "recipe.yaml")), topology.parse(request["topology"], request["slices"])
    start = time.perf_counter()
    try:
        result = _compile(recipe, on, request["sequences"], folder / "program.hlo")
    except Exception as error:
        if needed := _needed(str(error)):
            result = {"needed": needed}
        elif isinstance(error, UserError):
            result = {"refused": str(error)}
        else:
            raise
    (folder / "result.json").write_text(json.dumps({"seconds": time.perf_counter() - start} | result))


def _compile(recipe: Recipe, on: Topology, sequences: int, program: Path) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from palmetto.model import layout
    from palmetto.parallel.sharding import Sharding
    from palmetto.training import state
    from palmetto.training.loss import Batch
    from palmetto.training.step import make_step

    sharding = Sharding(recipe, _devices(on))
    step = make_step(recipe, layout.for_platform("gpu" if on.is_gpu else "tpu"), sharding)
    everywhere = sharding.place()
    leaves, rest = divmod(sequences, recipe.training.micro_batch)
    assert not rest, "the recipe has seen to it"
    shape = (leaves, recipe.training.micro_batch, recipe.model_length + 1)
    tokens: Any = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=everywhere)
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=everywhere)
    lowered = step.lower(state.shapes(recipe, sharding), Batch(tokens), rate)  # type: ignore[attr-defined]
    compiled = lowered.compile()
    program.write_text(compiled.as_text())
    analysis = compiled.memory_analysis()
    arguments, code = analysis.argument_size_in_bytes, analysis.generated_code_size_in_bytes
    peak = analysis.peak_memory_in_bytes  # its temp_size_in_bytes counts more than is there at once
    return {
        "memory": {"arguments": arguments, "temporaries": peak - arguments, "code": code, "peak": peak + code},
        "devices": [_coordinates(device, on) for device in sharding.mesh.devices.flat],
    }


def _coordinates(device: Any, on: Topology) -> Coordinates:
    """A device's slice and its place there; GPUs are told by their number, node after node."""
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
    if on.kind in ("v4", "v5p"):  # both cores of a chip as one device
        options["chip_config_name"] = "megacore"
    devices: Sequence[Any] = topologies.get_topology_desc(platform="tpu", topology_name=on.name, **options).devices
    return devices


def _needed(message: str) -> int | None:
    """The memory that the compiler asked for in vain, in bytes; None for any other message."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    found = re.search(r"(?:Used |\()([\d.]+)([KMGT])", message)
    return round(float(found.group(1)) * 1024 ** (1 + "KMGT".index(found.group(2)))) if found else None


if __name__ == "__main__":
    main(sys.argv[1])
