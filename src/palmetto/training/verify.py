"""Verification, which replays a run and compares it with its ledger and its checkpoints bit for bit."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from palmetto.errors import UserError
from palmetto.files import is_locked
from palmetto.model.parameters import parameter_table
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import CheckpointDamaged, Manifest
from palmetto.training import ledger, live
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.digest import form_of
from palmetto.training.ledger import LedgerAltered, LedgerTorn, Line
from palmetto.training.origin import check_recipe, check_tokens, load_vocabulary
from palmetto.training.replay import (
    CHAIN,
    PLACE,
    At,
    Difference,
    Differs,
    LivePath,
    Misplaced,
    begin_at,
    follow,
    take_again,
)
from palmetto.training.spikes import History, Rollback
from palmetto.training.step.execution import Execution
from palmetto.training.step.state import State


def verify(
    run: RunDirectory, recipe: Recipe, start: int | None, end: int | None, progress: Callable[[Line], None]
) -> tuple[int, Difference | None]:
    """Replays steps and returns their number, and the first difference or None.

    `recipe` is the run's own, possibly on another mesh. Without `start` and `end` every line of the ledger is replayed
    from the initial state, through every rollback, and every kept checkpoint is compared. Otherwise the live path is
    replayed to `end` from the last checkpoint at or before `start`. Raises UserError if the range is not within the
    run.
    """
    try:
        return _Verification(run, recipe, progress).replay(start, end), None
    except LedgerAltered as error:
        return 0, Difference(error.step, "ledger line", None, str(error))
    except Differs as error:
        return 0, error.difference


class _Verification:
    def __init__(self, run: RunDirectory, recipe: Recipe, progress: Callable[[Line], None]) -> None:
        self.run, self.progress = run, progress
        # Checkpoints are read before the ledger, which then has the line of each even while training goes on.
        self.checkpoints = Checkpoints(run.checkpoints, parameter_table(recipe))
        found = self._checkpoints()
        self.lines, self.chains = self._ledger()
        if not self.lines:
            raise UserError(f"{run.ledger}: no step to verify yet")
        check_recipe(run, run.newest_manifest)
        vocabulary = load_vocabulary(run)
        check_tokens(run, vocabulary)
        self.execution = Execution(recipe, run.train_store, vocabulary)
        self.manifests = self._placed(found)
        self._check_states()
        self.replayed = 0

    def _checkpoints(self) -> dict[int, Manifest]:
        """Returns the manifest of each kept checkpoint by step, with files checked, except those deleted meanwhile."""
        manifests = {}
        for step in self.checkpoints.steps():
            try:
                manifest = live.read(self.checkpoints, step, partial(self.checkpoints.manifest, step))
            except CheckpointDamaged as error:
                raise Differs(step, "checkpoint", None, str(error)) from None
            if manifest is not None:
                manifests[step] = manifest
        return manifests

    def _ledger(self) -> tuple[list[Line], list[str]]:
        """Returns all lines and the chain after each, without a last one that training is writing."""
        try:
            return ledger.read(self.run.ledger, whole=True)
        except LedgerTorn:
            if not is_locked(self.run.path):
                raise
            return ledger.read(self.run.ledger)

    def _placed(self, found: dict[int, Manifest]) -> dict[tuple[int, int], Manifest]:
        """Returns the manifests by (attempt, step); raises Differs if the ledger lacks the line of one."""
        chains = {(line.attempt, line.step): chain for line, chain in zip(self.lines, self.chains, strict=True)}
        manifests = {}
        for step, manifest in found.items():
            key = (manifest.attempt, manifest.step)
            if manifest.step != step or chains.get(key) != manifest.chain:
                raise Differs(step, CHAIN, manifest.chain, chains.get(key, "no such step in the ledger"))
            manifests[key] = manifest
        return manifests

    def _check_states(self) -> None:
        """Restores every kept checkpoint, which compares its digests with those in its manifest."""
        for manifest in self.manifests.values():
            restore = partial(self.checkpoints.restore, manifest.step, self.execution.shapes())
            try:
                live.read(self.checkpoints, manifest.step, restore)
            except CheckpointDamaged as error:
                raise Differs(manifest.step, "checkpoint", None, str(error)) from None

    def replay(self, start: int | None, end: int | None) -> int:
        """Replays a range of the live path, or all lines, and returns the number of steps."""
        try:
            path = follow(self.execution.history(), self.lines)
        except Misplaced as misplaced:
            line = misplaced.line
            raise Differs(line.step, PLACE, (line.attempt, line.step), misplaced.expected) from None
        if start is None and end is None:
            self._replay_all(path.history)
            return self.replayed
        last = path.step
        start, end = start or 0, last if end is None else end
        if not 0 <= start <= end <= last:
            raise UserError(f"--from {start} --to {end}: expected 0 ≤ FROM ≤ TO ≤ {last}, the last step of the run")
        at = self._base(start, path.history)
        state = at.state
        for line in path.lines[at.step : end]:
            state = self._replay_line(state, line, path.history)
        return self.replayed

    def _base(self, latest: int, history: History) -> At:
        """Returns the state at the newest live checkpoint up to step `latest` that still exists, or the initial one."""
        live_ones = {step: m for (attempt, step), m in self.manifests.items() if history.is_live(attempt, step)}

        def read(step: int) -> State | None:
            restore = partial(self.checkpoints.restore, step, self.execution.shapes())
            state = live.read(self.checkpoints, step, restore)
            if state is not None:
                self._compare_digests(state, live_ones[step])
            return state

        return begin_at(self.execution, sorted((step for step in live_ones if step <= latest), reverse=True), read)

    def _replay_all(self, whole: History) -> None:
        """Replays every line in order; states that a later rollback returns to are kept on the host until then."""
        path, kept = LivePath(self.execution.history()), dict[int, State]()
        state = self.execution.initial_state()

        def keep() -> None:
            if any(rollback.target == path.step for rollback in whole.rollbacks[path.history.attempt :]):
                kept[path.step] = jax.tree.map(np.array, state)

        keep()
        for line in self.lines:
            state = self._replay_line(state, line, path.history)
            if isinstance(path.add(line), Rollback):
                path.deepen(whole.rollbacks[path.history.attempt - 1].target)  # where training resumed
                state = jax.device_put(kept[path.step], self.execution.places())
            keep()

    def _replay_line(self, state: State, line: Line, history: History) -> State:
        """Repeats a step and compares it with its line, digest and checkpoint."""
        state = take_again(self.execution, state, line, history)
        if line.parameters:
            replayed = self.execution.parameters_digest(state, form_of(line.parameters)).result()
            if replayed != line.parameters:
                raise Differs(line.step, "digest of the parameters", line.parameters, replayed)
        if manifest := self.manifests.get((line.attempt, line.step)):
            self._compare_digests(state, manifest)
        self.replayed += 1
        self.progress(line)
        return state

    def _compare_digests(self, state: State, manifest: Manifest) -> None:
        parameters, optimizer = self.checkpoints.digests(state, form_of(manifest.parameters))
        for quantity, recorded, replayed in (
            ("digest of the parameters", manifest.parameters, parameters),
            ("digest of the optimizer state", manifest.optimizer, optimizer),
        ):
            if recorded != replayed:
                raise Differs(manifest.step, f"checkpoint's {quantity}", recorded, replayed)
