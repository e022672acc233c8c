"""Evaluation of a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palmetto.runs.directory import RunDirectory
from palmetto.training import origin
from palmetto.workflow.entering import enter_to_read
from palmetto.workflow.progress import Say

if TYPE_CHECKING:
    from palmetto.evaluation.evaluating import Evaluation
    from palmetto.evaluation.long_context import Curve
    from palmetto.evaluation.settings import Settings


def long_context(run: RunDirectory, times: int, sequences: int, say: Say) -> "list[Curve]":
    """Returns the losses of the newest checkpoint by position, up to `times` the length it was trained on."""
    recipe = enter_to_read(run, say)
    from palmetto.decoding.trained import restore
    from palmetto.evaluation.long_context import measure
    from palmetto.tokens.store import TokenStore

    state, _, _ = restore(run)
    store = TokenStore.open(run.validation_store, vocabulary_digest=origin.load_vocabulary(run).digest)
    return measure(recipe, state.parameters, store, times, sequences, say)


def tasks(
    run: RunDirectory,
    names: Sequence[str],
    data: Path,
    settings: "Settings",
    step: int | None,
    out: Path,
    say: Say,
) -> "Evaluation":
    """Returns how a checkpoint, by default the newest, does on tasks, and writes it into a folder."""
    from palmetto.evaluation import registry

    chosen = registry.choose(names, data)
    enter_to_read(run, say)
    from palmetto.evaluation import evaluating, page
    from palmetto.evaluation.model import EvaluatedModel

    model = EvaluatedModel(run, step)
    evaluation = evaluating.run(chosen, data, settings, model.identity, model.engine, model.reader, out, say)
    page.write(evaluation, out, run.path.resolve().name)
    return evaluation


def verify_tasks(out: Path, say: Say) -> "tuple[int, str]":
    """Replays samples of an evaluation; returns their number, and what differs or an empty text."""
    from palmetto.evaluation.settings import run_of

    run, step = run_of(out)
    enter_to_read(run, say)
    from palmetto.evaluation import replay
    from palmetto.evaluation.model import EvaluatedModel

    return replay.verify(out, EvaluatedModel(run, step))
