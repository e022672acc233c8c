"""Checkpoints: written by orbax in the background, complete once a manifest with every file's digest lies beside them.

checkpoints/00000060/arrays/ is orbax's; checkpoints/00000060/manifest.json is written last, atomically. A directory
without a manifest that was never on record as complete is the trace of a killed process and is cleared away.
"""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
    """The checkpoints of one run."""

    def __init__(self, path: Path, table: Table) -> None:
        orbax_messages.tell_once()
        self.path = path.absolute()
        self.register = Register(self.path)
        self._to_matrices = jax.jit(partial(to_matrices, table=table))
        self._table = table
        self._orbax = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._finishing: Future[None] | None = None
        self._wanted = 0

    def clear_unfinished(self) -> None:
        """Removes what a killed process left half written: what has no manifest, and never was on record."""
        with _one_for_all("clear"):
            if is_primary():
                whole = {*self.steps(), *(self.register.read() or ())}
                there = {step for name in names_in(self.path) if (step := step_of(name)) is not None}
                for step in there - whole:
                    shutil.rmtree(self.folder(step))

    def folder(self, step: int) -> Path:
        """Returns where the checkpoint of a step is, or would be."""
        return self.path / folder_name(step)

    def steps(self) -> list[int]:
        """Returns the steps of the complete checkpoints, ascending; UserError where they cannot be seen."""
        return completed(self.path)

    def record(self) -> None:
        """Makes the record say what is there: for a run from before there was one, and for a killed one."""
        with _one_for_all("record"):
            if is_primary():
                recorded = self.register.read() or {}
                for step in self.steps():
                    with contextlib.suppress(CheckpointDamaged):  # that is for whoever needs it to say
                        recorded[step] = _entry(self.sealed(step))
                self.register.write({step: recorded[step] for step in self.steps() if step in recorded})

    def save(self, state: State, form: Digest = tree, **fields: Any) -> None:
        """Starts writing `state`; returns once its arrays are copied. `fields` are the manifest's, but for its digests,
        which are of a `form`.

        A failed write is raised by `check`, or here or by `wait`.
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
        if jax.process_count() > 1:  # the parts that others hold come by collectives, which keep to one thread
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
        manifest = self.sealed(step)
        check_files(self.folder(step) / "arrays", manifest)
        return manifest

    def sealed(self, step: int) -> Manifest:
        """Reads a checkpoint's manifest, but none of the files; raises as `manifest.read_manifest`."""
        return read_manifest(self.folder(step) / "manifest.json", step)

    def restore(self, step: int, like: State) -> State:
        """Reads a state, shaped and typed as `like`, to where `like` lies: a mesh, or else the default device.

        The mesh need not be the one that the state was saved from. UserError names the first array that is not there,
        or there but not in `like`, or of another shape or type; CheckpointDamaged names a state whose digests are not
        those that the manifest has, though every file may be.
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
            self.folder(step) / "arrays", args=ocp.args.PyTreeRestore(item=shapes, restore_args=arguments)
        )
        manifest = self.sealed(step)
        self._compare(manifest, digests(matrices, form_of(manifest.parameters)))
        places = jax.tree.map(lambda s: s.sharding, like)
        state: State = jax.jit(partial(from_matrices, table=self._table), out_shardings=places)(matrices)
        return state

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
        """Returns the digests of a state's parameters and optimizer state, as a checkpoint of it would record them."""
        return digests(self._to_matrices(state), form)

    def set_aside(self, step: int) -> Path:
        """Renames a damaged checkpoint so that it is kept for inspection but not used."""
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
        """Returns the checkpoints on record, ascending, that are neither there nor set aside.

        Those that have lost their manifest alone are among them.
        """
        there, aside = set(self.steps()), names_in(self.path)
        entries = sorted((self.register.read() or {}).values())
        return [entry for entry in entries if entry.step not in there and aside_name(entry.step) not in aside]

    def lost_its_manifest(self, step: int) -> bool:
        """Returns whether a checkpoint's folder is there, without what makes it one."""
        directory = self.folder(step)
        return present(directory) and not present(directory / "manifest.json")

    def delete(self, step: int) -> None:
        """Removes a checkpoint, its entry and its manifest first, so that a kill leaves none that looks whole.

        Nothing may be being written.
        """
        assert self._finishing is None, "the register has one writer"
        directory = self.folder(step)
        with _one_for_all("delete"):
            if is_primary():
                self.register.strike(step)
                (directory / "manifest.json").unlink()
                shutil.rmtree(directory)


def aside_name(step: int) -> str:
    """Returns the name of the folder that a damaged checkpoint becomes, or that stands for one that is lost."""
    return f"damaged-{folder_name(step)}"


@contextlib.contextmanager
def _one_for_all(what: str) -> Iterator[None]:
    """Has one process change files after all that the others have read, and before what they read next."""
    barrier(f"before {what}")
    yield
    barrier(f"after {what}")


def _entry(manifest: Manifest) -> Entry:
    return Entry(manifest.step, manifest.attempt, manifest.chain)
