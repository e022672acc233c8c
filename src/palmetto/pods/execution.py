"""An execution whose steps are taken by pods. The training loop uses it like any other."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import jax

from palmetto.errors import UserError
from palmetto.model.experts.router import Routing
from palmetto.pods.client import Pods, Tell
from palmetto.pods.limits import PATIENCE
from palmetto.pods.programs import metrics_from, of_one_pod, on_host
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.tokens import vocabularies
from palmetto.training.digest import Digest, tree
from palmetto.training.ledger import Line
from palmetto.training.spikes import Skips
from palmetto.training.step.execution import Execution
from palmetto.training.step.state import State
from palmetto.training.step.update import mean_target_count


class PodExecution(Execution):
    """Takes the steps of a run by as many pods as its recipe has. While the pods hold a state, its shapes stand for it
    here."""

    def __init__(self, run: RunDirectory, recipe: Recipe, pods: Pods) -> None:
        super().__init__(of_one_pod(recipe), run.train_store, vocabularies.load(run.vocabulary))
        self._pods = pods
        self._fetched: State | None = None

    def take(self, state: State, step: int, attempt: int, skips: Skips) -> tuple[State, Line, Routing | None]:
        """Takes a step like `Execution.take`. Raises RunStopped if all pods are lost or hold different states."""
        inputs = self.inputs(step, skips)
        if not _is_away(state):
            self._pods.put_state(on_host(state), step - 1, inputs.leaves)
        self._fetched = None
        target_count = None if inputs.leaves.scored is None else jax.device_get(mean_target_count(inputs.leaves))
        taken = self._pods.step(step, inputs.leaves, target_count, inputs.rate)
        return self.shapes(), *self.line(step, attempt, inputs, metrics_from(taken.metrics))

    def at_hand(self, state: State) -> State:
        """Returns the state that the pods hold. It is fetched at most once a step."""
        if not _is_away(state):
            return state
        if self._fetched is None:
            arrays = jax.tree.unflatten(jax.tree.structure(state), list(self._pods.state()))
            self._fetched = jax.device_put(arrays, self.places())
        return self._fetched

    def parameters_digest(self, state: State, form: Digest = tree) -> Future[str]:
        """Returns the digest of the parameters that the pods hold, as `Execution` does."""
        return super().parameters_digest(self.at_hand(state), form)


@contextlib.contextmanager
def over_pods(
    run: RunDirectory, recipe: Recipe, tell: Tell, patience: float = PATIENCE, **options: Any
) -> Iterator[PodExecution]:
    """Provides an execution by pods, which end with the context. `options` are those of `Pods`.

    Raises UserError if JAX's platform is not the CPU.
    """
    if jax.default_backend() != "cpu":
        raise UserError(
            f"--pods: pods share a CPU, and JAX uses a {jax.default_backend()} here; JAX_PLATFORMS=cpu would do, or "
            "all devices as one mesh, without --pods"
        )
    pods = Pods(
        of_one_pod(recipe),
        recipe.mesh.pod,
        run.path / "pods",
        tell,
        patience=patience,
        **options,
    )
    try:
        yield PodExecution(run, recipe, pods)
    finally:
        pods.close()


def _is_away(state: State) -> bool:
    return isinstance(state.optimizer.k, jax.ShapeDtypeStruct)
