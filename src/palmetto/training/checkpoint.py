"""Checkpoints, which orbax writes in the background and a manifest with every file's digest completes.

Orbax writes checkpoints/00000060/arrays/; checkpoints/00000060/manifest.json is written last, atomically. A directory
that has no manifest and was never recorded as complete was left by a killed process and is removed.
"""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import orbax.checkpoint as ocp

from palmetto.errors import UserError
from palmetto.files import names_in, present, write_text
from palmetto.model.weights import Table
from palmetto.parallel.processes import barrier, is_primary
from palmetto.runs.manifest import CheckpointDamaged, Manifest, check_files, digests_of, read_manifest, render
from palmetto.runs.register import Entry, Register, completed, folder_name, step_of
from palmetto.training import orbax_messages
from palmetto.training.digest import Digest, form_of, tree
from palmetto.training.matrices import digests, flat, from_matrices, to_matrices
from palmetto.training.orbax_messages import writing
from palmetto.training.step.state import State


class Checkpoints:
    """Writes, reads, checks and deletes the checkpoints of one run."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path.absolute()
        self.register = Register(self.path)
        self._to_matrices = jax.jit(partial(to_matrices, table=table))
        self._table = table
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._finishing: Future[None] | None = None
        self._wanted = 0

    @cached_property
    def _orbax(self) -> ocp.AsyncCheckpointer:
        """Returns what reads and writes the arrays, made for the first that are read or written."""
        orbax_messages.tell_once()
        return ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())

    def clear_unfinished(self) -> None:
        """Removes incomplete checkpoints of a killed process: those without a manifest that were never on record."""
        with _one_for_all("clear"):
            if is_primary():
                whole = {*self.steps(), *(self.register.read() or ())}
                there = {step for name in names_in(self.path) if (step := step_of(name)) is not None}
                for step in there - whole:
                    shutil.rmtree(self.folder(step))

    def folder(self, step: int) -> Path:
        """Returns the folder of the checkpoint of a step, whether it exists or not."""
        return self.path / folder_name(step)

    def steps(self) -> list[int]:
        """Returns the steps of the complete checkpoints, ascending.

        Raises UserError if a folder or manifest cannot be accessed.
        """
        return completed(self.path)

    def record(self) -> None:
        """Brings the register up to date with the folder, for runs that had no register or were killed."""
        with _one_for_all("record"):
            if is_primary():
                recorded = self.register.read() or {}
                for step in self.steps():
                    with contextlib.suppress(CheckpointDamaged):  # reported when the checkpoint is needed
                        recorded[step] = _entry(self.sealed(step))
                self.register.write({step: recorded[step] for step in self.steps() if step in recorded})

    def save(self, state: State, form: Digest = tree, **fields: Any) -> None:
        """Starts writing `state` and returns once its arrays are copied.

        `fields` are the fields of the manifest except its digests, which are computed in the form `form`. A failed
        write raises UserError here, or in `check` or `wait`.
        """
        self.wait()
        directory = self.folder(fields["step"])
        with _one_for_all("save"):
            if is_primary():
                shutil.rmtree(directory, ignore_errors=True)
        matrices = self._to_matrices(state)
        self._wanted = sum(matrix.nbytes for matrix in jax.tree.leaves(matrices))
        with writing(directory, self._wanted):
            self._orbax.save(directory / "arrays", args=ocp.args.PyTreeSave(matrices))
        if jax.process_count() > 1:  # the digests need collectives, which must stay on one thread
            self._finish(directory, digests(matrices, form), fields)
        else:
            self._finishing = self._finisher.submit(lambda: self._finish(directory, digests(matrices, form), fields))

    def _finish(self, directory: Path, found: tuple[str, str], fields: dict[str, Any]) -> None:
        parameters, optimizer = found
        with writing(directory, self._wanted):
            self._orbax.wait_until_finished()
        barrier("arrays written")
        if is_primary():
            with writing(directory, self._wanted):
                self._write_manifest(directory, parameters, optimizer, fields)
        barrier("manifest written")

    def _write_manifest(self, directory: Path, parameters: str, optimizer: str, fields: dict[str, Any]) -> None:
        files = digests_of(directory / "arrays")
        manifest = Manifest(**fields, parameters=parameters, optimizer=optimizer, files=files)
        write_text(directory / "manifest.json", render(manifest))
        self.register.enter(_entry(manifest))

    def check(self) -> None:
        """Raises the UserError of a failed write, without waiting for one in progress."""
        if self._finishing and self._finishing.done():
            self.wait()

    def wait(self) -> None:
        """Waits until no checkpoint is being written; raises UserError if the write failed."""
        if self._finishing:
            finishing, self._finishing = self._finishing, None
            finishing.result()

    def manifest(self, step: int) -> Manifest:
        """Returns the manifest of a checkpoint after checking every file against it.

        Raises CheckpointDamaged, which names the file that differs.
        """
        manifest = self.sealed(step)
        check_files(self.folder(step) / "arrays", manifest)
        return manifest

    def sealed(self, step: int) -> Manifest:
        """Returns the manifest of a checkpoint without reading the files; raises like `manifest.read_manifest`."""
        return read_manifest(self.folder(step) / "manifest.json", step)

    def restore(self, step: int, like: State) -> State:
        """Returns the state of a checkpoint with the shapes, types and shardings of `like`, by default on one device.

        The mesh may differ from the one that the state was saved from. Raises UserError, which names the first array
        that is missing, not in `like`, or of another shape or type; and CheckpointDamaged if the digests of the state
        are not those of the manifest, which may happen although every file is intact.
        """
        default = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        like = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=s.sharding or default), like)
        matrices = jax.eval_shape(self._to_matrices, like)
        self._check_arrays(step, matrices)
        # Each matrix is read with the sharding that `to_matrices` gives it.
        there = self._to_matrices.lower(like).compile().output_shardings
        shapes = jax.tree.map(lambda s, to: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=to), matrices, there)
        arguments = ocp.checkpoint_utils.construct_restore_args(shapes)
        matrices = self._orbax.restore(
            self.folder(step) / "arrays", args=ocp.args.PyTreeRestore(item=shapes, restore_args=arguments)
        )
        manifest = self.sealed(step)
        self._compare(manifest, digests(matrices, form_of(manifest.parameters)))
        places = jax.tree.map(lambda s: s.sharding, like)
        state: State = jax.jit(partial(from_matrices, table=self._table), out_shardings=places)(matrices)
        return state

    def matrix(self, step: int, name: str) -> npt.NDArray[np.float32]:
        """Returns one logical matrix of a checkpoint's parameters, on the host; `manifest` checks its files."""
        kept = {"parameters": {name: ocp.RestoreArgs(restore_type=np.ndarray)}}
        restored = self._orbax.restore(
            self.folder(step) / "arrays",
            args=ocp.args.PyTreeRestore(item=kept, restore_args=kept, partial_restore=True),
        )
        matrix: npt.NDArray[np.float32] = restored["parameters"][name]
        return matrix

    def _compare(self, manifest: Manifest, found: tuple[str, str]) -> None:
        for what, recorded, restored in zip(
            ("parameters", "optimizer state"), (manifest.parameters, manifest.optimizer), found, strict=True
        ):
            if recorded != restored:
                raise CheckpointDamaged(
                    f"{self.folder(manifest.step)}: its {what} have the digest {restored}, and "
                    f"its manifest says {recorded}"
                )

    def _check_arrays(self, step: int, matrices: dict[str, Any]) -> None:
        arrays = self.folder(step) / "arrays"
        there = flat(self._orbax.metadata(arrays).item_metadata.tree)
        found, expected = (
            {name: f"{jnp.dtype(array.dtype).name} {list(array.shape)}" for name, array in part.items()}
            for part in (there, flat(matrices))
        )
        for name in sorted(found.keys() | expected.keys()):
            if name not in found:
                raise UserError(f"{arrays}: lacks {name}, which this run's recipe needs")
            if name not in expected:
                raise UserError(f"{arrays}: has {name}, which this run's recipe has no place for")
            if found[name] != expected[name]:
                raise UserError(f"{arrays}: {name} is {found[name]}; this run's recipe needs {expected[name]}")

    def digests(self, state: State, form: Digest = tree) -> tuple[str, str]:
        """Returns the digests of parameters and optimizer state that a checkpoint of the state would record."""
        return digests(self._to_matrices(state), form)

    def set_aside(self, step: int) -> Path:
        """Renames a damaged checkpoint, so that it is kept for inspection but not used, and returns its new path."""
        name = aside_name(step)
        taken = names_in(self.path)
        others = (f"{name}-{number}" for number in itertools.count(2))
        damaged = self.path / (name if name not in taken else next(other for other in others if other not in taken))
        with _one_for_all("set aside"):
            if is_primary():
                self.folder(step).rename(damaged)
                self.register.strike(step)
        return damaged

    def missing(self) -> list[Entry]:
        """Returns the recorded checkpoints, ascending, that are neither complete nor set aside.

        They include checkpoints that have lost only their manifest.
        """
        there, aside = set(self.steps()), names_in(self.path)
        entries = sorted((self.register.read() or {}).values())
        return [entry for entry in entries if entry.step not in there and aside_name(entry.step) not in aside]

    def lost_its_manifest(self, step: int) -> bool:
        """Returns whether the folder of a checkpoint exists without its manifest."""
        directory = self.folder(step)
        return present(directory) and not present(directory / "manifest.json")

    def delete(self, step: int) -> None:
        """Deletes a checkpoint: its entry and manifest first, so that a kill leaves none that looks complete.

        No checkpoint may be in the course of being written.
        """
        assert self._finishing is None, "the register has one writer"
        directory = self.folder(step)
        with _one_for_all("delete"):
            if is_primary():
                self.register.strike(step)
                (directory / "manifest.json").unlink()
                shutil.rmtree(directory)


def aside_name(step: int) -> str:
    """Returns the folder name of a damaged checkpoint that is set aside, or of a placeholder for a lost one."""
    return f"damaged-{folder_name(step)}"


@contextlib.contextmanager
def _one_for_all(what: str) -> Iterator[None]:
    """Separates changes of files by one process from the reads of the others before and after by barriers."""
    barrier(f"before {what}")
    yield
    barrier(f"after {what}")


def _entry(manifest: Manifest) -> Entry:
    return Entry(manifest.step, manifest.attempt, manifest.chain)
