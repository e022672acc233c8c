"""Checkpoints: written by orbax in the background, complete once a manifest with every file's digest lies beside them.

checkpoints/00000060/arrays/ is orbax's; checkpoints/00000060/manifest.json is written last, atomically. A directory
without a manifest is the trace of a killed process and is cleared away.
"""

import contextlib
import hashlib
import json
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from palmetto.errors import UserError
from palmetto.files import sha256, write_text
from palmetto.model.parameters import Table, restack, unstack
from palmetto.parallel.processes import is_primary, meet
from palmetto.training.digest import digest
from palmetto.training.loss_scale import LossScaleState
from palmetto.training.optimizer import OptimizerState
from palmetto.training.state import State

FORMAT = 1
MOMENTS = ("m", "v", "rows", "columns")
_REASON = 300
"""Characters of a failed write's error that a person is shown."""

# orbax logs each failure, traceback and all, before it raises it, and its writers go on complaining to a closed loop.
logging.getLogger("absl").setLevel(logging.CRITICAL)
_usual_hook = sys.unraisablehook


def _hook(unraisable: Any) -> None:
    if "Event loop is closed" not in str(unraisable.exc_value):
        _usual_hook(unraisable)


sys.unraisablehook = _hook


class Manifest(NamedTuple):
    """What a checkpoint says of itself."""

    step: int
    attempt: int
    recipe: str
    """Digest of the recipe's identity."""
    tokens: str
    """Digest of the training tokens."""
    chain: str
    """The ledger's chain at this step."""
    parameters: str
    optimizer: str
    """Digests of the logical matrices; the optimizer's covers the loss scale."""
    files: dict[str, str]
    """SHA-256 of every file under arrays/, by its path there."""


class CheckpointDamaged(UserError):
    """A checkpoint is not what was written."""


def to_matrices(state: State, table: Table) -> dict[str, Any]:
    """A state as logical matrices, fresh arrays: {"parameters": {name: matrix}, "k": scalar}, of the moments "m", "v",
    "rows" and "columns" those there are, and "loss_scale": {"scale": scalar, "good_steps": scalar} if the state has it.
    """
    matrices: dict[str, Any] = {"parameters": unstack(state.parameters, table), "k": jnp.copy(state.optimizer.k)}
    for moment in MOMENTS:
        if arrays := getattr(state.optimizer, moment):
            matrices[moment] = unstack(arrays, table)
    if state.loss_scale is not None:
        matrices["loss_scale"] = {name: jnp.copy(value) for name, value in state.loss_scale._asdict().items()}
    return matrices


def from_matrices(matrices: dict[str, Any], table: Table) -> State:
    """The inverse of `to_matrices`."""
    moments = {moment: restack(matrices.get(moment, {}), table) for moment in MOMENTS}
    loss_scale = LossScaleState(**matrices["loss_scale"]) if "loss_scale" in matrices else None
    return State(restack(matrices["parameters"], table), OptimizerState(matrices["k"], **moments), loss_scale)


def digests(matrices: dict[str, Any]) -> tuple[str, str]:
    """The digest of the parameters and that of all else: the optimizer state and the loss scale."""
    others = {part: arrays for part, arrays in matrices.items() if part != "parameters"}
    return digest(matrices["parameters"]), digest(_flat(others))


def _flat(matrices: dict[str, Any]) -> dict[str, Any]:
    """What each array is called in the whole: {"m/q.003": …, "k": …}."""
    flat: dict[str, Any] = {}
    for part, value in matrices.items():
        flat |= {f"{part}/{name}": array for name, array in value.items()} if isinstance(value, dict) else {part: value}
    return flat


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path.absolute()
        self._to_matrices = jax.jit(partial(to_matrices, table=table))
        self._table = table
        self._orbax = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._finishing: Future[None] | None = None
        self._wanted = 0

    def clear_unfinished(self) -> None:
        """Removes what a killed process left half written."""
        with _one_for_all("clear"):
            for directory in self.path.glob("*") if is_primary() else ():
                if directory.name.isdigit() and not (directory / "manifest.json").exists():
                    shutil.rmtree(directory)

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, ascending."""
        return sorted(int(d.parent.name) for d in self.path.glob("*/manifest.json") if d.parent.name.isdigit())

    def save(self, state: State, **fields: Any) -> None:
        """Starts writing `state`; returns once its arrays are copied. `fields` are the manifest's, digests excepted.

        A failed write is raised by `check`, or here or by `wait`.
        """
        self.wait()
        directory = self.path / f"{fields['step']:08d}"
        with _one_for_all("save"):
            if is_primary():
                shutil.rmtree(directory, ignore_errors=True)
        matrices = self._to_matrices(state)
        self._wanted = sum(matrix.nbytes for matrix in jax.tree.leaves(matrices))
        with _writing(directory, self._wanted):
            self._orbax.save(directory / "arrays", args=ocp.args.PyTreeSave(matrices))
        if jax.process_count() > 1:  # the parts that others hold come by collectives, which keep to one thread
            self._finish(directory, digests(matrices), fields)
        else:
            self._finishing = self._finisher.submit(lambda: self._finish(directory, digests(matrices), fields))

    def _finish(self, directory: Path, found: tuple[str, str], fields: dict[str, Any]) -> None:
        parameters, optimizer = found
        with _writing(directory, self._wanted):
            self._orbax.wait_until_finished()
        meet("arrays written")
        if is_primary():
            with _writing(directory, self._wanted):
                self._write_manifest(directory, parameters, optimizer, fields)
        meet("manifest written")

    def _write_manifest(self, directory: Path, parameters: str, optimizer: str, fields: dict[str, Any]) -> None:
        arrays = directory / "arrays"
        files = {name: sha256(arrays / name) for name in _files(arrays)}
        manifest = Manifest(**fields, parameters=parameters, optimizer=optimizer, files=files)
        write_text(directory / "manifest.json", _render(manifest))

    def check(self) -> None:
        """Raises the UserError of a write that has failed; does not wait for one that goes on."""
        if self._finishing and self._finishing.done():
            self.wait()

    def wait(self) -> None:
        """Waits until nothing is being written; UserError where it could not be."""
        if self._finishing:
            finishing, self._finishing = self._finishing, None
            finishing.result()

    def manifest(self, step: int) -> Manifest:
        """Reads a checkpoint's manifest and checks every file against it; CheckpointDamaged names what differs."""
        directory = self.path / f"{step:08d}"
        file = directory / "manifest.json"
        try:
            contents = json.loads(file.read_text())
            if contents["format"] != FORMAT:
                raise UserError(f"{file}: a checkpoint of format {contents['format']}; this version reads {FORMAT}")
            manifest = Manifest(**{field: contents[field] for field in Manifest._fields})
        except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError):
            raise CheckpointDamaged(f"{file}: not a checkpoint's manifest") from None
        if file.read_text() != _render(manifest):
            raise CheckpointDamaged(f"{file}: altered since it was written")
        if missing := sorted(manifest.files.keys() ^ set(_files(directory / "arrays"))):
            raise CheckpointDamaged(f"{directory}/arrays/{missing[0]}: missing, or not of this checkpoint")
        for name, expected in manifest.files.items():
            if sha256(directory / "arrays" / name) != expected:
                raise CheckpointDamaged(f"{directory}/arrays/{name}: altered since it was written")
        return manifest

    def restore(self, step: int, like: State) -> State:
        """Reads a state, shaped and typed as `like`, to where `like` lies: a mesh, or else the default device.

        The mesh need not be the one that the state was saved from. UserError names the first array that is not there,
        or there but not in `like`, or of another shape or type.
        """
        default = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        like = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=s.sharding or default), like)
        matrices = jax.eval_shape(self._to_matrices, like)
        self._check_arrays(step, matrices)
        # Each matrix is read to where the program that takes the state apart would leave it.
        there = self._to_matrices.lower(like).compile().output_shardings
        shapes = jax.tree.map(lambda s, to: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=to), matrices, there)
        arguments = ocp.checkpoint_utils.construct_restore_args(shapes)
        matrices = self._orbax.restore(
            self.path / f"{step:08d}" / "arrays", args=ocp.args.PyTreeRestore(item=shapes, restore_args=arguments)
        )
        places = jax.tree.map(lambda s: s.sharding, like)
        state: State = jax.jit(partial(from_matrices, table=self._table), out_shardings=places)(matrices)
        return state

    def _check_arrays(self, step: int, matrices: dict[str, Any]) -> None:
        arrays = self.path / f"{step:08d}" / "arrays"
        there = _flat(self._orbax.metadata(arrays).item_metadata.tree)
        found, expected = ({name: f"{jnp.dtype(array.dtype).name} {list(array.shape)}" for name, array in part.items()}
                           for part in (there, _flat(matrices)))  # fmt: skip
        for name in sorted(found.keys() | expected.keys()):
            if name not in found:
                raise UserError(f"{arrays}: lacks {name}, which this run's recipe needs")
            if name not in expected:
                raise UserError(f"{arrays}: has {name}, which this run's recipe has no place for")
            if found[name] != expected[name]:
                raise UserError(f"{arrays}: {name} is {found[name]}; this run's recipe needs {expected[name]}")

    def digests(self, state: State) -> tuple[str, str]:
        """The digests of a state's parameters and optimizer state, as a checkpoint of it would record them."""
        return digests(self._to_matrices(state))

    def set_aside(self, step: int) -> Path:
        """Renames a damaged checkpoint so that it is kept for inspection but not used."""
        damaged = self.path / f"damaged-{step:08d}"
        with _one_for_all("set aside"):
            if is_primary():
                shutil.rmtree(damaged, ignore_errors=True)
                (self.path / f"{step:08d}").rename(damaged)
        return damaged

    def delete(self, step: int) -> None:
        """Removes a checkpoint, its manifest first, so that a kill leaves none that looks whole."""
        directory = self.path / f"{step:08d}"
        with _one_for_all("delete"):
            if is_primary():
                (directory / "manifest.json").unlink()
                shutil.rmtree(directory)


@contextlib.contextmanager
def _one_for_all(what: str) -> Iterator[None]:
    """What one process does with files comes after all that the others have read, and before what they read next."""
    meet(f"before {what}")
    yield
    meet(f"after {what}")


@contextlib.contextmanager
def _writing(directory: Path, wanted: int) -> Iterator[None]:
    """Tells in one line what orbax tells in a traceback: usually a disk that is full. wanted: the arrays' bytes."""
    try:
        yield
    except Exception as error:
        reason = _reason(error, directory)
        room = f"with room on the disk for about {wanted:,} bytes"
        mended = "with permission to write" if "ermission denied" in reason else room
        raise UserError(f"{directory}: the checkpoint could not be written ({reason}); {mended}, the same command goes "
                        "on from the one before") from error  # fmt: skip


def _reason(error: Exception, directory: Path) -> str:
    """The file that could not be written, by its path in `directory`, and why: an error's end, if it is long.

    Before that tensorstore says what it was about to do, and behind it, as [key='value'], with which options.
    """
    text = re.split(r"\n| \[[\w ]+='", str(error) or type(error).__name__)[0].replace(f"{directory}/", "")
    text = re.sub(r"\.orbax-checkpoint-tmp(-\d+)?", "", text)  # the name until it is whole
    return text if len(text) <= _REASON else f"…{text[1 - _REASON :]}"


def _files(arrays: Path) -> list[str]:
    return sorted(str(path.relative_to(arrays)) for path in arrays.rglob("*") if path.is_file())


def _render(manifest: Manifest) -> str:
    contents = {"format": FORMAT, **manifest._asdict()}
    seal = hashlib.sha256(json.dumps(contents).encode()).hexdigest()
    return json.dumps(contents | {"sha256": seal}, indent=1) + "\n"
