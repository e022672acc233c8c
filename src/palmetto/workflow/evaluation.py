"""Evaluation of a trained model."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palmetto.errors import UserError
from palmetto.recipe import Recipe
from palmetto.recipe.model import Weights
from palmetto.recipe.training import Evaluations
from palmetto.runs.directory import RunDirectory
from palmetto.training import origin
from palmetto.workflow.entering import enter_to_read
from palmetto.workflow.progress import Say, Watch

if TYPE_CHECKING:
    from palmetto.evaluation.evaluating import Evaluation
    from palmetto.evaluation.harness import Answerer
    from palmetto.evaluation.long_context import Curve
    from palmetto.evaluation.model import EvaluatedModel
    from palmetto.evaluation.registry import Chosen
    from palmetto.evaluation.settings import Settings
    from palmetto.training.loop import Evaluate

_TOLD = ("metric", "value", "interval", "higher_is_better", "neutral", "chance", "majority", "count")
"""The parts of a task's results that go to the events of a run."""


def long_context(
    run: RunDirectory, times: int, sequences: int, say: Say, text: Path | None = None, tuned: Sequence[Path] = ()
) -> "list[Curve]":
    """Returns the losses of the newest checkpoint by position, up to `times` the length it was trained on.

    text: a file of held-out text, by default that of the run. tuned: the directories of runs that were trained further.
    """
    recipe = enter_to_read(run, say)
    from palmetto.decoding.trained import restore
    from palmetto.evaluation.long_context import Text, Tuned, measure
    from palmetto.tokens.store import TokenStore

    vocabulary, others = origin.load_vocabulary(run), [RunDirectory.existing(path) for path in tuned]
    for other in others:
        if origin.load_vocabulary(other).digest != vocabulary.digest:
            raise UserError(f"--tuned {other.path}: has another vocabulary than {run.path}; expected the same")
    if text is None and run.imported:
        raise UserError(f"{run.path}: was imported, and has no held-out text; expected --text FILE")
    if text is None:
        store = TokenStore.open(run.validation_store, vocabulary_digest=vocabulary.digest)
        held_out = Text(str(store.path), store.header.tokens, store.stretch)
    else:
        ids = np.concatenate([[vocabulary.beginning], vocabulary.encode_bytes(_contents(text))])
        held_out = Text(str(text), len(ids), lambda start, stop: ids[start:stop])
    found = [Tuned(each.path.resolve().name, each.recipe_to_read(), restore(each)[0].parameters) for each in others]
    return measure(recipe, restore(run)[0].parameters, held_out, times, sequences, say, found)


def _contents(text: Path) -> bytes:
    try:
        return text.read_bytes()
    except OSError as error:
        raise UserError(f"--text {text}: cannot be read ({error.strerror}); expected a file of text") from None


def tasks(
    run: RunDirectory,
    names: Sequence[str],
    data: Path,
    settings: "Settings",
    step: int | None,
    out: Path,
    scorer: str,
    watch: Watch,
    engine: str = "local",
    workers: int | None = None,
    weights: Weights | None = None,
) -> "Evaluation":
    """Returns how a checkpoint, by default the newest, does on tasks, and writes it into a folder.

    scorer: the function that scores toxicity, as MODULE:FUNCTION.
    engine: what answers requests, `local` for this process, `ray` for `workers` engines on a Ray cluster.
    """
    from palmetto.evaluation import registry

    chosen = registry.choose(names, data, scorer)
    enter_to_read(run, watch.say)
    from palmetto.evaluation import evaluating, page
    from palmetto.evaluation.model import EvaluatedModel

    model = EvaluatedModel(run, step, weights)
    answerer: Answerer = model.engine
    if engine == "ray":
        from palmetto.evaluation.ray_engine import RayEngine

        answerer = RayEngine(partial(_opened, run.path.resolve(), model.step, weights), model.identity, workers)
    given = chosen, data, settings, model.identity, answerer, model.reader, out
    evaluation = evaluating.run(*given, watch.say, watch.follow)
    page.write(evaluation, out, run.path.resolve().name)
    return evaluation


def check(recipe: Recipe) -> None:
    """Raises UserError if a task that a recipe evaluates on is unknown, or its files are missing."""
    if recipe.training.evaluations is not None:
        _chosen(recipe.training.evaluations)


def while_training(run: RunDirectory, wanted: Evaluations, say: Say) -> "Evaluate":
    """Returns what evaluates a checkpoint of a run in training, into a folder of its own."""
    from palmetto.evaluation.settings import Settings

    def evaluate(step: int, attempt: int) -> dict[str, Any]:
        from palmetto.evaluation import evaluating, page
        from palmetto.evaluation.model import EvaluatedModel

        model = EvaluatedModel(run, step)
        out = run.evaluations / (f"{step:08d}" if not attempt else f"{step:08d}-{attempt}")
        settings, chosen, data = Settings(wanted.shots, 0, wanted.limit), _chosen(wanted), Path(wanted.data)
        done = evaluating.run(chosen, data, settings, model.identity, model.engine, model.reader, out, say)
        page.write(done, out, run.path.resolve().name)
        results = done.results["tasks"]
        return {name: {key: of[key] for key in _TOLD if key in of} for name, of in results.items()}

    return evaluate


def _chosen(wanted: Evaluations) -> "Chosen":
    from palmetto.evaluation import registry

    try:
        return registry.choose(wanted.tasks, Path(wanted.data))
    except UserError as error:
        raise UserError(f"training.evaluations: {error}") from None


def _opened(path: Path, step: int, weights: Weights | None) -> "EvaluatedModel":
    """Returns the checkpoint of a run in a process that has not used it before, such as a worker's."""
    run = RunDirectory.existing(path)
    enter_to_read(run, lambda text: None)
    from palmetto.evaluation.model import EvaluatedModel

    return EvaluatedModel(run, step, weights)


def memorization(run: RunDirectory, spans: int, length: int, seed: int, step: int | None, say: Say) -> dict[str, Any]:
    """Returns how much of its training text a checkpoint, by default the newest, repeats, by how often it saw it."""
    recipe = enter_to_read(run, say)
    from palmetto.evaluation import memorization
    from palmetto.evaluation.model import EvaluatedModel
    from palmetto.model.weights import count
    from palmetto.tokens.store import TokenStore

    if run.imported:
        raise UserError(f"{run.path}: was imported, so that nobody here knows the text that it was trained on")
    model = EvaluatedModel(run, step)
    digest, chosen = model.identity["vocabulary"], model.identity["step"]
    training, held_out = (
        TokenStore.open(path, vocabulary_digest=digest) for path in (run.train_store, run.validation_store)
    )
    seen = memorization.trained_on(run, recipe, training, chosen)
    drawn = memorization.spans(seen, held_out.read(np.arange(held_out.windows))[:, :-1], spans, length, seed)
    rows = memorization.measure(drawn, model.engine, model.reader)
    return {
        "run": str(run.path),
        "step": chosen,
        "parameters": count(recipe.model, recipe.model_vocabulary),
        "rows": rows,
    }


def verify_tasks(out: Path, say: Say, first: int | None = None, last: int | None = None) -> "tuple[int, str]":
    """Replays samples of an evaluation, or the lines of its ledger from `first` to `last`, counted from 1.

    Returns their number, and what differs or an empty text.
    """
    from palmetto.evaluation.settings import run_of

    run, step, weights = run_of(out)
    enter_to_read(run, say)
    from palmetto.evaluation import replay
    from palmetto.evaluation.model import EvaluatedModel

    return replay.verify(out, EvaluatedModel(run, step, weights), first, last)
