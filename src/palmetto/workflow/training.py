"""The training of a run: checks, tokens, then steps by this process, by several processes, or by pods.

Products that are complete and made from the same inputs are skipped (runs/stamps.py). A command that is refused changes
nothing: all checks come before the run is claimed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from palmetto.errors import RunStopped, UserError
from palmetto.files import temporary_folder
from palmetto.host import environment
from palmetto.host.cluster import Cluster
from palmetto.native import library
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment
from palmetto.tokens import vocabularies
from palmetto.tokens.store import StoreDamaged
from palmetto.training import condition, origin
from palmetto.workflow import evaluation
from palmetto.workflow.entering import enter
from palmetto.workflow.progress import Reporter, Say
from palmetto.workflow.tokens import build_tokens

if TYPE_CHECKING:
    from palmetto.training.step.execution import Execution


def check(run: RunDirectory, recipe: Recipe) -> None:
    """Raises UserError if the directory cannot be trained with `recipe`; every training begins with this check."""
    condition.check(run, recipe)
    evaluation.check(recipe)


def check_weights(run: RunDirectory, recipe: Recipe) -> None:
    """Raises UserError, before text is read, for patterns that match no weight, or weights that the base does not have.

    The patterns are those of adapters and of frozen weights.
    """
    begins = recipe.finetuning is not None and not run.begun
    if recipe.model.lora is None and recipe.training.frozen is None and not begins:
        return
    environment.prepare(recipe.training.threads, read_environment(run.environment), recipe.mesh.devices)
    from palmetto.model.parameters import parameter_table  # imports JAX
    from palmetto.training import beginning

    parameter_table(recipe)
    if begins:
        beginning.check_weights(recipe)


def train_in_cluster(run: RunDirectory, recipe: Recipe, until: int, say: Say, cluster: Cluster) -> bool:
    """Trains as one of several processes, and returns as `train`.

    All processes take the same steps, but only the primary writes the files of the run; the others write to copies.
    """
    share = -(-recipe.mesh.devices // cluster.processes) if cluster.processes else 1
    environment.prepare(recipe.training.threads, read_environment(run.environment), share)
    from palmetto.parallel import processes

    processes.join(cluster)
    if processes.is_primary():
        with run.locked():
            check(run, recipe)
            build_tokens(run, recipe, say)
            processes.barrier("tokens built")
            processes.barrier("files copied")
            return train(run, recipe, until, say)
    processes.barrier("tokens built")
    with temporary_folder() as folder:
        shadow = run.shadow(folder)
        processes.barrier("files copied")
        return train(shadow, recipe, until, lambda text: None)


def train(run: RunDirectory, recipe: Recipe, until: int, say: Say, patience: float | None = None) -> bool:
    """Trains to step `until`, resuming from what the directory holds, and returns whether that step was reached.

    The directory must have been checked and its tokens built. A signal stops training earlier. With `patience` each pod
    is a cluster of its own, which counts as lost after that many seconds without a sign of life; otherwise all devices
    are in the cluster of this process.
    """
    if condition.is_finished(run, until):
        if not run.is_shadow and not origin.are_whole(run):  # no step reads them
            build_tokens(run, recipe, say, thorough=True)
        run.claim(recipe)
        say(f"trained to step {until} already")
        return True
    here = enter(run, say, recipe if patience is None else _of_one_pod(recipe))
    _check_processes(here, recipe)
    say(f"matrix products: {_products(recipe, here, read_environment(run.environment))}")
    from palmetto.parallel.schedules import filled
    from palmetto.training import loop

    if (stages := recipe.mesh.stage) > 1:
        for each in filled(recipe):
            say(
                f"pipeline of {stages} stages, {each.micro_batches} micro-batches from step {each.from_step:,}: each "
                f"stage is idle for {each.bubble:.1%} of the time"
            )
    with (
        Reporter("training", until, quiet=run.is_shadow) as reporter,
        _execution(run, recipe, reporter, patience, here) as execution,
    ):
        try:
            wanted = recipe.training.evaluations
            evaluate = None if wanted is None else evaluation.while_training(run, wanted, reporter.message)
            return loop.train(run, recipe, until, here, reporter, execution, evaluate)
        except StoreDamaged as error:
            if run.is_shadow:
                raise
            run.record_event("tokens damaged", text=str(error))
            build_tokens(run, recipe, say)
            raise RunStopped(f"{error}; that is done now, and the same command goes on") from None


def _check_processes(here: dict[str, Any], recipe: Recipe) -> None:
    """Raises UserError if the processes of this cluster would compute with different bits, or cannot do evaluations."""
    import jax

    if jax.process_count() > 1:
        if recipe.training.evaluations is not None:
            raise UserError(
                f"training.evaluations: expected none with {jax.process_count()} processes; `palmetto eval` evaluates "
                "checkpoints meanwhile"
            )
        from palmetto.parallel import processes

        keys = ("products", "instruction_set", "threads", "jaxlib")
        processes.check_alike(", ".join(f"{key} {here[key]}" for key in keys))


def _products(recipe: Recipe, here: dict[str, Any], begun: dict[str, Any] | None) -> str:
    """Returns whose products the training uses and, on a CPU where they are XLA's, why."""
    kernels = library.kernels() if here["platform"] == "cpu" else None
    if kernels is None:
        return "XLA's"
    if begun and environment.products_of(begun) == library.XLA_NAME:
        return "XLA's, as when the run began"
    if recipe.mesh.model > 1:
        return "XLA's, which can divide them along mesh.model"
    if recipe.model.activations == "float16":
        return "XLA's, since the kernels have no float16"
    if kernels.instruction_set:
        return f"Palmetto's kernels, {kernels.instruction_set}"
    return f"XLA's ({kernels.reason})"


@contextmanager
def _execution(
    run: RunDirectory, recipe: Recipe, reporter: Reporter, patience: float | None, here: dict[str, Any]
) -> "Iterator[Execution]":
    """Yields the execution that takes the steps, in this process or in pods."""
    if patience is None:
        from palmetto.training.step.execution import Execution

        yield Execution(recipe, run.train_store, vocabularies.load(run.vocabulary))
        return
    from palmetto.pods.execution import over_pods

    def tell(event: str, text: str, **fields: Any) -> None:
        run.record_event(event, text=text, **fields)
        reporter.message(text)

    with over_pods(run, recipe, tell, patience, environment=read_environment(run.environment) or here) as execution:
        yield execution


def _of_one_pod(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"mesh": recipe.mesh.model_copy(update={"pod": 1})})
