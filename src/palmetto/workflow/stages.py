"""The stages of a run in order, each skipped when its output is complete and its inputs are unchanged.

A finished stage leaves its stamp (stamps.py). What is missing or altered is made again; once training has begun on it,
it must come out the same. A command that is refused has changed nothing: first all is checked, then the run is claimed.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palmetto.errors import RunStopped, UserError
from palmetto.files import text_bytes, write_bytes
from palmetto.host import environment
from palmetto.host.cluster import Cluster
from palmetto.recipe import Recipe, loading
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment, read_summary
from palmetto.tokens.store import StoreDamaged
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training import condition, origin, surroundings
from palmetto.workflow.progress import Reporter
from palmetto.workflow.tokens import build_tokens

if TYPE_CHECKING:
    from palmetto.evaluation.long_context import Curve
    from palmetto.training.step.execution import Execution
    from palmetto.training.verify import Difference

__all__ = ["build_tokens"]

Say = Callable[[str], None]


def check(run: RunDirectory, recipe: Recipe) -> None:
    """UserError where `recipe` cannot be trained on in the directory; the first thing that a training does."""
    condition.check(run, recipe)


def enter(run: RunDirectory, say: Say, recipe: Recipe) -> dict[str, Any]:
    """Prepares this process for a run before JAX is imported, and says what of its record cannot be had here.

    Writes nothing. Returns the record of the environment here.
    """
    environment.prepare(recipe.training.threads, read_environment(run.environment), recipe.mesh.devices)
    here = environment.record(recipe.layout, recipe.inelastic)
    if text := surroundings.difference(run, here):
        say(text)
    return here


def elsewhere(run: RunDirectory, recipe: Recipe) -> list[str]:
    """Returns what of the run's recorded environment cannot be had here; this process is prepared for `recipe`."""
    recorded = read_environment(run.environment)
    return environment.differences(recorded, environment.record(recipe.layout, recipe.inelastic)) if recorded else []


def enter_to_read(run: RunDirectory, say: Say, overrides: Sequence[str] = ()) -> Recipe:
    """Prepares this process for what does not train: sampling, digests, evaluation, on one device or as `overrides`
    have it, whatever mesh the run has. Returns the recipe."""
    recorded, recipe = read_environment(run.environment), run.recipe_to_read(overrides)
    environment.prepare(recipe.training.threads, recorded, recipe.mesh.devices)
    layout = recorded.get("layout") if recorded else None
    if text := surroundings.difference(run, environment.record(layout)):
        say(text)
    return recipe


def train_in_cluster(run: RunDirectory, recipe: Recipe, until: int, say: Say, cluster: Cluster) -> bool:
    """One process's part in a training of several: all take the same steps, the primary alone writes the run's files.

    The others go through the same motions on copies of the files that a run writes to.
    """
    share = -(-recipe.mesh.devices // cluster.processes) if cluster.processes else 1
    environment.prepare(recipe.training.threads, read_environment(run.environment), share)
    from palmetto.parallel import processes

    processes.join(cluster)
    if processes.is_primary():
        with run.locked():
            check(run, recipe)
            build_tokens(run, recipe, say)
            processes.meet("tokens built")
            processes.meet("files copied")
            return train(run, recipe, until, say)
    processes.meet("tokens built")
    with tempfile.TemporaryDirectory() as folder:
        shadow = run.shadow(Path(folder))
        processes.meet("files copied")
        return train(shadow, recipe, until, lambda text: None)


def train(run: RunDirectory, recipe: Recipe, until: int, say: Say, patience: float | None = None) -> bool:
    """Trains to step `until`, going on from what the directory holds; skipped where it is there already.

    The directory has been checked and its tokens are built. patience: each pod is a cluster of its own, and lost when
    it gives no sign of life for so many seconds; None: all devices are in this process's cluster. Returns whether it
    got there; a signal stops it earlier.
    """
    if condition.is_finished(run, until):
        if not run.is_shadow and not origin.are_whole(run):  # no step reads the tokens, so nothing else would find it
            build_tokens(run, recipe, say, thorough=True)
        run.claim(recipe)
        say(f"trained to step {until} already")
        return True
    here = enter(run, say, recipe if patience is None else _of_one_pod(recipe))
    from palmetto.parallel.schedules import filled
    from palmetto.training.loop import Loop

    if (stages := recipe.mesh.stage) > 1:
        for each in filled(recipe):
            say(f"pipeline of {stages} stages, {each.micro_batches} micro-batches from step {each.from_step:,}: each "
                f"stage is idle for {each.bubble:.1%} of the time")  # fmt: skip
    with (
        Reporter("training", until, quiet=run.is_shadow) as reporter,
        _execution(run, recipe, reporter, patience, here) as execution,
    ):
        try:
            return Loop(run, recipe, here, reporter, execution).train(until)
        except StoreDamaged as error:
            if run.is_shadow:
                raise
            run.record_event("tokens damaged", text=str(error))
            build_tokens(run, recipe, say)
            raise RunStopped(f"{error}; that is done now, and the same command goes on") from None


@contextmanager
def _execution(
    run: RunDirectory, recipe: Recipe, reporter: Reporter, patience: float | None, here: dict[str, Any]
) -> "Iterator[Execution]":
    """Yields the execution that takes the steps: by this process, or by pods."""
    if patience is None:
        from palmetto.training.step.execution import Execution

        yield Execution(recipe, run.train_store, Vocabulary.load(run.vocabulary))
        return
    from palmetto.pods.execution import over_pods

    def tell(event: str, text: str, **fields: Any) -> None:
        run.record_event(event, text=text, **fields)
        reporter.message(text)

    with over_pods(run, recipe, tell, patience, environment=read_environment(run.environment) or here) as execution:
        yield execution


def _of_one_pod(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"mesh": recipe.mesh.model_copy(update={"pod": 1})})


def verify(
    run: RunDirectory, start: int | None, end: int | None, say: Say, overrides: Sequence[str] = ()
) -> "tuple[int, Difference | None]":
    """Replays a run, on its own mesh or another; UserError for overrides of anything else. See training.verify."""
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] != "mesh":
            raise UserError(f"{override}: a run is replayed with the values that it was trained with, but for its "
                            "mesh, as in mesh.data=2")  # fmt: skip
    recipe = loading.load(str(run.recipe_file), overrides)
    enter(run, say, recipe)
    from palmetto.training.verify import verify

    with Reporter("verifying", run.ledger_lines if end is None else end) as reporter:
        return verify(run, recipe, start, end, reporter.step)


def write_samples(run: RunDirectory, say: Say) -> None:
    """samples.txt: how the model goes on from the beginnings of held-out windows."""
    summary = read_summary(run.summary)
    assert summary is not None, "training has written it"
    inputs = {"digest": summary["digest"]["parameters"]}
    if stamps.is_complete(run, "samples", inputs):
        return
    enter_to_read(run, say)
    from palmetto.decoding.trained import TrainedModel, samples

    say("sampling")
    write_bytes(run.samples, text_bytes(samples(TrainedModel(run), run)))
    stamps.finish(run, "samples", inputs, [run.samples])


def long_context(run: RunDirectory, times: int, sequences: int, say: Say) -> "list[Curve]":
    """The losses of the newest checkpoint by position, up to `times` its trained length."""
    recipe = enter_to_read(run, say)
    from palmetto.decoding.trained import restore
    from palmetto.evaluation.long_context import measure
    from palmetto.tokens.store import TokenStore

    state, _, _ = restore(run)
    store = TokenStore.open(run.validation_store, vocabulary_digest=origin.load_vocabulary(run).digest)
    return measure(recipe, state.parameters, store, times, sequences, say)


def write_report(run: RunDirectory, say: Say, out: Path | None = None) -> Path:
    """Writes report.html, anew each time: it is quick. Returns where it is.

    out: where else, for a run that cannot be written in: a file that ends in .html, or a folder.
    """
    from palmetto.training.report.page import write

    file = run.report if out is None else out if out.suffix == ".html" else out / run.report.name
    write(run, file)
    say(f"report: {file}")
    return file
