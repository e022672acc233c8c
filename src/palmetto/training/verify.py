"""Replays a run and compares it with its ledger and its checkpoints, bit for bit."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from palmetto.errors import UserError
from palmetto.files import is_locked
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import CheckpointDamaged, Manifest
from palmetto.training import ledger, live
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.digest import form_of
from palmetto.training.ledger import LedgerAltered, LedgerTorn, Line
from palmetto.training.origin import check_recipe, check_tokens, load_vocabulary
from palmetto.training.spikes import History, Rollback
from palmetto.training.step.execution import Execution, observe
from palmetto.training.step.state import State, parameter_table

_CHAIN, _PLACE = "ledger chain at the checkpoint", "attempt and step"


class Difference(NamedTuple):
    """The first place where a replay and the record part; `recorded` is None where the record itself is damaged."""

    step: int
    quantity: str
    recorded: Any
    replayed: Any

    @property
    def is_of_bits(self) -> bool:
        """True if a step came out otherwise, as it may in another environment; else the record contradicts itself."""
        return self.recorded is not None and self.quantity not in (_CHAIN, _PLACE)

    def __str__(self) -> str:
        if self.recorded is None:
            return f"step {self.step}: {self.quantity}: {self.replayed}"
        return f"step {self.step}: {self.quantity} differs: recorded {self.recorded}, replayed {self.replayed}"


class _Differs(Exception):
    def __init__(self, *difference: Any) -> None:
        self.difference = Difference(*difference)


def verify(
    run: RunDirectory, recipe: Recipe, start: int | None, end: int | None, progress: Callable[[Line], None]
) -> tuple[int, Difference | None]:
    """Replays steps and returns how many, and the first difference or None.

    `recipe` is the run's own, or the same on another mesh. Without `start` and `end` every line of the ledger is
    replayed from the initialization, through every rollback, and every checkpoint kept is compared. Otherwise the live
    path is replayed from the checkpoint at or before `start` to `end`. Raises UserError if the range is not within the
    run.
    """
    try:
        return _Verification(run, recipe, progress).replay(start, end), None
    except LedgerAltered as error:
        return 0, Difference(error.step, "ledger line", None, str(error))
    except _Differs as error:
        return 0, error.difference


class _Verification:
    def __init__(self, run: RunDirectory, recipe: Recipe, progress: Callable[[Line], None]) -> None:
        self.run, self.progress = run, progress
        # The checkpoints before the ledger: a run that is in training has the line of each of them by then.
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
        """Returns every kept checkpoint's manifest by step, its files checked, but not of one that training deletes."""
        manifests = {}
        for step in self.checkpoints.steps():
            try:
                manifest = live.read(self.checkpoints, step, partial(self.checkpoints.manifest, step))
            except CheckpointDamaged as error:
                raise _Differs(step, "checkpoint", None, str(error)) from None
            if manifest is not None:
                manifests[step] = manifest
        return manifests

    def _ledger(self) -> tuple[list[Line], list[str]]:
        """All lines, and the chain after each; without the last one while training writes it."""
        try:
            return ledger.read(self.run.ledger, whole=True)
        except LedgerTorn:
            if not is_locked(self.run.path):
                raise
            return ledger.read(self.run.ledger)

    def _placed(self, found: dict[int, Manifest]) -> dict[tuple[int, int], Manifest]:
        """The checkpoints by attempt and step, each at its place in the ledger."""
        chains = {(line.attempt, line.step): chain for line, chain in zip(self.lines, self.chains, strict=True)}
        manifests = {}
        for step, manifest in found.items():
            key = (manifest.attempt, manifest.step)
            if manifest.step != step or chains.get(key) != manifest.chain:
                raise _Differs(
                    step,
                    _CHAIN,
                    manifest.chain,
                    chains.get(key, "no such step in the ledger"),
                )
            manifests[key] = manifest
        return manifests

    def _check_states(self) -> None:
        """Restores every kept checkpoint, as its own digests are known only then; its manifest may have honest ones."""
        for manifest in self.manifests.values():
            restore = partial(self.checkpoints.restore, manifest.step, self.execution.shapes())
            try:
                live.read(self.checkpoints, manifest.step, restore)
            except CheckpointDamaged as error:
                raise _Differs(manifest.step, "checkpoint", None, str(error)) from None

    def replay(self, start: int | None, end: int | None) -> int:
        """The number of steps replayed."""
        history, live = self._follow()
        if start is None and end is None:
            self._replay_all(history)
            return self.replayed
        last = len(live)
        start, end = start or 0, last if end is None else end
        if not 0 <= start <= end <= last:
            raise UserError(f"--from {start} --to {end}: expected 0 ≤ FROM ≤ TO ≤ {last}, the last step of the run")
        base, state = self._base(start, history)
        for line in live[base:end]:
            state = self._replay_line(state, line, history)
        return self.replayed

    def _base(self, latest: int, history: History) -> tuple[int, State]:
        """The newest checkpoint of the live path up to step `latest` that is still there, or the initialization."""
        for (attempt, step), manifest in sorted(self.manifests.items(), key=lambda item: item[0][1], reverse=True):
            if step <= latest and history.is_live(attempt, step):
                restore = partial(self.checkpoints.restore, step, self.execution.shapes())
                state = live.read(self.checkpoints, step, restore)
                if state is not None:
                    self._compare_digests(state, manifest)
                    return step, state
        return 0, self.execution.initial_state()

    def _follow(self) -> tuple[History, list[Line]]:
        """What the ledger's lines lead to, the order of its attempts and steps checked."""
        history, live = self.execution.history(), list[Line]()
        for line in self.lines:
            expected = (history.attempt, history.step + 1)
            if not history.follows(line.attempt, line.step):
                raise _Differs(line.step, _PLACE, (line.attempt, line.step), expected)
            live[line.step - 1 :] = [line]
            if isinstance(decision := history.feed(observe(line)), Rollback):
                del live[decision.target :]
        return history, live

    def _replay_all(self, whole: History) -> None:
        """Every line in order. States that a later rollback returns to are kept on the host until then."""
        history, kept = self.execution.history(), dict[int, State]()
        state = self.execution.initial_state()

        def keep(step: int) -> None:
            if any(rollback.target == step for rollback in whole.rollbacks[history.attempt :]):
                kept[step] = jax.tree.map(np.array, state)

        keep(0)
        for line in self.lines:
            history.expect(line.step)
            state = self._replay_line(state, line, history)
            at = line.step
            if isinstance(history.feed(observe(line)), Rollback):
                at = whole.rollbacks[history.attempt - 1].target  # which may be deeper than decided
                state = jax.device_put(kept[at], self.execution.places())
            keep(at)

    def _replay_line(self, state: State, line: Line, history: History) -> State:
        state, again, _ = self.execution.take(state, line.step, line.attempt, history.skips)
        if quantity := ledger.differing(line, again):
            raise _Differs(line.step, quantity, getattr(line, quantity), getattr(again, quantity))
        if line.parameters:
            replayed = self.execution.parameters_digest(state, form_of(line.parameters)).result()
            if replayed != line.parameters:
                raise _Differs(line.step, "digest of the parameters", line.parameters, replayed)
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
                raise _Differs(manifest.step, f"checkpoint's {quantity}", recorded, replayed)
