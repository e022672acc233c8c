"""The real loop, ledger, history and recovery over steps that are hashes, so that thousands of them take seconds."""

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
from palmetto.runs.register import Entry
from palmetto.tokens.order import Order
from palmetto.training.checkpoint import aside_name
from palmetto.training.digest import Digest, tree
from palmetto.training.ledger import Ledger, Line
from palmetto.training.loop import Loop
from palmetto.training.recovery import Recovery
from palmetto.training.spikes import History, Observation, Rollback, Skips

Curve = Callable[[int, int, int], Observation]
"""What an attempt gives at a step on the data from a position on."""


class Killed(Exception):
    """The process is no more."""


class Machine:
    """Takes steps: a state is the hash of all that it came from, the machine's kind included."""

    def __init__(self, recipe: Recipe, curve: Curve, windows: int = 10**9) -> None:
        training = recipe.training
        self.order = Order(windows, training.batch_stages, training.seed, training.epochs)
        self.store = SimpleNamespace(checksum="tokens")
        self.spikes, self.curve = training.spikes, curve
        self.kind = "this one"
        self.steps_left = 10**9
        """Until it is killed."""

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
    """Checkpoints as `Checkpoints` has them; what is on it outlasts a process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.saved: dict[int, Saved] = {}
        self.ever: list[tuple[int, int]] = []
        """(attempt, step) of all that were written."""
        self.most = 0
        """So many were there at once."""
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

    def set_aside(self, step: int) -> Path:
        del self.saved[step]
        self.damaged.discard(step)
        self.record()
        return self.path / aside_name(step)

    def delete(self, step: int) -> None:
        del self.saved[step]
        self.record()


class Back(NamedTuple):
    """A rollback, and what could be gone on from."""

    rollback: Rollback
    base: int
    best: int
    """The newest checkpoint that was ever written on the live path up to the target."""
    top: int
    """The last step that any attempt had reached."""


class Told:
    """A progress that keeps its messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def step(self, *figures: Any) -> None: ...

    def message(self, text: str) -> None:
        self.messages.append(text)


class Simulated(Loop):
    """The loop of one process."""

    progress: Told

    def __init__(self, run: RunDirectory, machine: Machine, disk: Disk, backs: list[Back]) -> None:
        self.run, self.progress, self.recipe = run, Told(), run.recipe
        execution: Any = machine
        checkpoints: Any = disk
        self.execution, self.checkpoints, self.ledger = execution, checkpoints, Ledger(run.ledger)
        self.disk, self.form = disk, tree
        self.recovery = Recovery(run, run.recipe, execution, checkpoints, self.ledger, self.event)
        self.history, self.path = self._read_ledger()
        self.step, self.signal = 0, None
        self.backs = backs
        self.stop_after = 10**9
        """So many steps, repeated ones included, until a signal comes."""

    def begin(self) -> None: ...

    def _told_to_stop(self, state: Any) -> bool:
        self.stop_after -= 1
        if self.stop_after < 0:
            self.signal = "SIGTERM"
        return self.signal is not None

    def _tell(self, rollback: Rollback, base: int) -> None:
        ever = (
            step for attempt, step in self.disk.ever if step <= rollback.target and self.history.is_live(attempt, step)
        )
        top = max(line.step for line in self.ledger.lines)
        self.backs.append(Back(rollback, base, max(ever, default=0), top))
        super()._tell(rollback, base)

    def _measure(self, *step: Any) -> None: ...

    def _validate(self, state: Any) -> None: ...

    def _summarize(self, state: Any) -> None:
        self.state = state


class SimulatedRun:
    """A run directory, the machine it is on, and its disk."""

    def __init__(self, folder: Path, recipe: Recipe, curve: Curve, windows: int = 10**9) -> None:
        folder.mkdir(parents=True)
        self.directory = RunDirectory(folder)
        self.directory.recipe_file.write_text(loading.dump(recipe))
        self.machine, self.disk = Machine(recipe, curve, windows), Disk(self.directory.checkpoints)
        self.backs: list[Back] = []
        self.loop: Simulated

    def train(self, until: int, *, steps: int = 10**9, stop_after: int = 10**9) -> bool:
        """As `palmetto train --until`, killed after so many steps, or stopped by a signal."""
        self.machine.steps_left = steps
        self.loop = Simulated(self.directory, self.machine, self.disk, self.backs)
        self.loop.stop_after = stop_after
        try:
            return self.loop.train(until)
        finally:
            self.loop.ledger.close()

    def outcome(self, until: int, **limits: int) -> str:
        """How `train` ended: "done", "stopped" by a signal, "killed", or the last spike that came back too often."""
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
        """The state at the end, and the ledger."""
        return self.loop.state, self.directory.ledger.read_bytes()
