"""Replays a run and compares it with its ledger and its checkpoints, bit for bit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from palmetto.errors import UserError
from palmetto.recipe import Recipe
from palmetto.run_directory import RunDirectory
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training import ledger
from palmetto.training.checkpoint import CheckpointDamaged, Checkpoints, Manifest
from palmetto.training.execution import Execution, observe
from palmetto.training.ledger import LedgerAltered, Line
from palmetto.training.spikes import History, Rollback
from palmetto.training.state import State

_CHAIN, _PLACE = "ledger chain at the checkpoint", "attempt and step"


class Difference(NamedTuple):
    """The first place where a replay and the record part; `recorded` is None where the record itself is damaged."""

    step: int
    quantity: str
    recorded: Any
    replayed: Any

    @property
    def is_of_bits(self) -> bool:
        """Whether a step came out otherwise, as it may in another environment; else the record contradicts itself."""
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
        self.lines, self.chains = ledger.read(run.ledger, whole=True)
        if not self.lines:
            raise UserError(f"{run.ledger}: no step to verify yet")
        vocabulary = Vocabulary.load(run.vocabulary)
        self.execution = Execution(recipe, run.train_store, vocabulary)
        self.checkpoints = Checkpoints(run.checkpoints, self.execution.table)
        self.manifests = self._manifests()
        self.replayed = 0

    def _manifests(self) -> dict[tuple[int, int], Manifest]:
        """Of every kept checkpoint, by attempt and step, its files and its place in the ledger checked."""
        chains = {(line.attempt, line.step): chain for line, chain in zip(self.lines, self.chains, strict=True)}
        manifests = {}
        for step in self.checkpoints.steps():
            try:
                manifest = self.checkpoints.manifest(step)
            except CheckpointDamaged as error:
                raise _Differs(step, "checkpoint", None, str(error)) from None
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
        base = max((step for attempt, step in self.manifests if step <= start and history.is_live(attempt, step)),
                   default=0)  # fmt: skip
        state = self.checkpoints.restore(base, self.execution.shapes()) if base else self.execution.initial_state()
        if base:
            self._compare_digests(state, self.manifests[live[base - 1].attempt, base])
        for line in live[base:end]:
            state = self._replay_line(state, line, history)
        return self.replayed

    def _follow(self) -> tuple[History, list[Line]]:
        """What the ledger's lines lead to, the order of its attempts and steps checked."""
        history, live = self.execution.history(), list[Line]()
        for line in self.lines:
            expected = (history.attempt, history.step + 1)
            if (line.attempt, line.step) != expected:
                raise _Differs(line.step, _PLACE, (line.attempt, line.step), expected)
            live.append(line)
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
            state = self._replay_line(state, line, history)
            decision = history.feed(observe(line))
            if isinstance(decision, Rollback):
                state = jax.device_put(kept[decision.target], self.execution.places())
            keep(history.step)

    def _replay_line(self, state: State, line: Line, history: History) -> State:
        state, again, _ = self.execution.take(state, line.step, line.attempt, history.skips)
        if quantity := ledger.differing(line, again):
            raise _Differs(line.step, quantity, getattr(line, quantity), getattr(again, quantity))
        if line.parameters and (replayed := self.execution.parameters_digest(state)) != line.parameters:
            raise _Differs(line.step, "digest of the parameters", line.parameters, replayed)
        if manifest := self.manifests.get((line.attempt, line.step)):
            self._compare_digests(state, manifest)
        self.replayed += 1
        self.progress(line)
        return state

    def _compare_digests(self, state: State, manifest: Manifest) -> None:
        parameters, optimizer = self.checkpoints.digests(state)
        for quantity, recorded, replayed in (
            ("digest of the parameters", manifest.parameters, parameters),
            ("digest of the optimizer state", manifest.optimizer, optimizer),
        ):
            if recorded != replayed:
                raise _Differs(manifest.step, f"checkpoint's {quantity}", recorded, replayed)
