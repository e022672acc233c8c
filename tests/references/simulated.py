"""Runs the real loop, ledger, history and recovery over steps that are hashes, so that thousands take seconds."""

import hashlib
import struct
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from palmetto.errors import RunStopped
from palmetto.recipe import Recipe, loading
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import CheckpointDamaged, Manifest
from palmetto.runs.register import Entry, folder_name
from palmetto.tokens.order import Order
from palmetto.training.checkpoint import aside_name
from palmetto.training.digest import Digest
from palmetto.training.ledger import Line
from palmetto.training.loop import Loop
from palmetto.training.recording import Recorder
from palmetto.training.replay import follow
from palmetto.training.spikes import History, Observation, Rollback, Skips
from palmetto.training.stopping import Stop

Curve = Callable[[int, int, int], Observation]
"""(attempt, step, position in the data) → the observation of the step."""


class Killed(Exception):
    """Signals that the process is killed."""


class Machine:
    """Takes steps; a state is the hash of everything that it came from, including the kind of machine."""

    def __init__(self, recipe: Recipe, curve: Curve, windows: int = 10**9) -> None:
        training = recipe.training
        self.order = Order(windows, training.batch_ramp, training.seed, training.epochs)
        self.store = SimpleNamespace(checksum="tokens")
        self.spikes, self.curve = training.spikes, curve
        self.kind = "this one"
        self.steps_left = 10**9
        """The number of steps until it is killed."""

    def history(self) -> History:
        before = self.order.ramp.sequences_before
        return History(self.spikes, lambda a, b: before(b + 1) - before(a + 1))

    def initial_state(self) -> str:
        return ""

    def shapes(self) -> None: ...

    def places(self) -> None: ...

    def at_hand(self, state: str) -> str:
        return state

    def parameters_digest(self, state: str, form: Digest) -> Future[str]:
        digest = Future[str]()
        digest.set_result(state)
        return digest

    def take(self, state: str, step: int, attempt: int, skips: Skips) -> tuple[str, Line, None]:
        if not self.steps_left:
            raise Killed
        self.steps_left -= 1
        positions = self.order.positions(step, skips)
        seen = self.curve(attempt, step, int(positions[0]))
        state = hashlib.sha256(f"{state} {step} {positions[0]} {self.kind}".encode()).hexdigest()
        (norm,) = struct.unpack("<I", bytes.fromhex(state[:8]))
        line = Line(
            step,
            attempt,
            seen.loss,
            seen.grad_norm,
            float(norm),
            0.0,
            1e-3,
            len(positions),
            str(positions[0]),
            seen.applied,
        )
        return state, line, None


class Saved(NamedTuple):
    manifest: Manifest
    state: str


class Disk:
    """Stores checkpoints with the interface of `Checkpoints`; its contents outlast a process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.saved: dict[int, Saved] = {}
        self.ever: list[tuple[int, int]] = []
        """The (attempt, step) of all checkpoints ever written."""
        self.most = 0
        """The largest number of checkpoints at one time."""
        self.recorded: dict[int, Entry] | None = None
        self.register = SimpleNamespace(read=lambda: self.recorded)
        self.aside: set[int] = set()
        self.damaged: set[int] = set()

    def clear_unfinished(self) -> None: ...

    def check(self) -> None: ...

    def wait(self) -> None: ...

    def steps(self) -> list[int]:
        return sorted(self.saved)

    def record(self) -> None:
        self.recorded = {step: Entry(*saved.manifest[:2], saved.manifest.chain) for step, saved in self.saved.items()}

    def missing(self) -> list[Entry]:
        entries = (self.recorded or {}).values()
        return sorted(entry for entry in entries if entry.step not in self.saved | dict.fromkeys(self.aside))

    def lost_its_manifest(self, step: int) -> bool:
        return False

    def save(self, state: str, form: Digest, **fields: Any) -> None:
        manifest = Manifest(**fields, parameters=state, optimizer=state, files={})
        assert manifest.step not in self.saved
        self.saved[manifest.step] = Saved(manifest, state)
        self.ever.append((manifest.attempt, manifest.step))
        self.most = max(self.most, len(self.saved))
        self.record()

    def sealed(self, step: int) -> Manifest:
        return self.saved[step].manifest

    def manifest(self, step: int) -> Manifest:
        return self.saved[step].manifest

    def restore(self, step: int, like: None) -> str:
        if step in self.damaged:
            raise CheckpointDamaged(f"{step}: damaged")
        return self.saved[step].state

    def folder(self, step: int) -> Path:
        return self.path / folder_name(step)

    def digests(self, state: str, form: Digest) -> tuple[str, str]:
        return state, state

    def set_aside(self, step: int) -> Path:
        del self.saved[step]
        self.damaged.discard(step)
        self.record()
        return self.path / aside_name(step)

    def delete(self, step: int) -> None:
        del self.saved[step]
        self.record()


class Back(NamedTuple):
    """Describes a rollback and the checkpoints that were available."""

    rollback: Rollback
    base: int
    best: int
    """The newest checkpoint ever written on the live path up to the target."""
    top: int
    """The last step that any attempt had reached."""


class Told:
    """Stands for a progress display and keeps its messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def step(self, *figures: Any) -> None: ...

    def message(self, text: str) -> None:
        self.messages.append(text)


class SimulatedRecorder(Recorder):
    """Writes events only, and nothing that needs a model."""

    progress: Told

    def __init__(self, run: RunDirectory) -> None:
        self.run, self.recipe, self.progress = run, run.recipe, Told()

    def begin(self) -> None: ...

    def measure(self, *step: Any) -> None: ...

    def validate(self, *place: Any) -> None: ...

    def summarize(self, *place: Any) -> None: ...


class Preemption(Stop):
    """Raises a signal after a number of steps, repeated ones included."""

    def __init__(self, after: int) -> None:
        super().__init__(print)
        self._after = after

    def is_due(self, state: Any) -> bool:
        self._after -= 1
        if self._after < 0:
            self.signal = "SIGTERM"
        return self.signal is not None


class Simulated(Loop):
    """Runs the loop of one process."""

    recorder: SimulatedRecorder

    def __init__(self, run: RunDirectory, machine: Machine, disk: Disk, backs: list[Back], stop_after: int) -> None:
        execution: Any = machine
        checkpoints: Any = disk
        super().__init__(run, run.recipe, execution, checkpoints, SimulatedRecorder(run))
        self.stop = Preemption(stop_after)
        self.disk, self.backs = disk, backs
        self._tell, self.recorder.tell_of_rollback = self.recorder.tell_of_rollback, self._note  # type: ignore[method-assign]

    def _note(self, rollback: Rollback, base: int) -> None:
        history = self.history()
        ever = (step for attempt, step in self.disk.ever if step <= rollback.target and history.is_live(attempt, step))
        top = max(line.step for line in self.ledger.lines)
        self.backs.append(Back(rollback, base, max(ever, default=0), top))
        self._tell(rollback, base)

    def history(self) -> History:
        """Returns the history of the ledger's lines so far."""
        return follow(self.execution.history(), self.ledger.lines).history


class SimulatedRun:
    """Holds a run directory, its machine and its disk."""

    def __init__(self, folder: Path, recipe: Recipe, curve: Curve, windows: int = 10**9) -> None:
        folder.mkdir(parents=True)
        self.directory = RunDirectory(folder)
        self.directory.recipe_file.write_text(loading.dump(recipe))
        self.machine, self.disk = Machine(recipe, curve, windows), Disk(self.directory.checkpoints)
        self.backs: list[Back] = []
        self.loop: Simulated

    def train(self, until: int, *, steps: int = 10**9, stop_after: int = 10**9) -> bool:
        """Trains like `palmetto train --until`; it is killed after a number of steps, or stopped by a signal."""
        self.machine.steps_left = steps
        self.loop = Simulated(self.directory, self.machine, self.disk, self.backs, stop_after)
        try:
            return self.loop.train(until)
        finally:
            self.loop.ledger.close()

    def outcome(self, until: int, **limits: int) -> str:
        """Returns how `train` ended: "done", "stopped" by a signal, "killed", or the last spike that recurred."""
        try:
            return "done" if self.train(until, **limits) else "stopped"
        except Killed:
            return "killed"
        except RunStopped as error:
            _, found, spike = str(error).partition("the spike at step")
            if not found:
                raise
            return spike

    @property
    def bits(self) -> tuple[str, bytes]:
        """Returns the final state and the ledger."""
        return str(self.loop.at.state), self.directory.ledger.read_bytes()
