"""Evaluation of a trained model."""

from typing import TYPE_CHECKING

from palmetto.runs.directory import RunDirectory
from palmetto.training import origin
from palmetto.workflow.entering import enter_to_read
from palmetto.workflow.progress import Say

if TYPE_CHECKING:
    from palmetto.evaluation.long_context import Curve


def long_context(run: RunDirectory, times: int, sequences: int, say: Say) -> "list[Curve]":
    """Returns the losses of the newest checkpoint by position, up to `times` the length it was trained on."""
    recipe = enter_to_read(run, say)
    from palmetto.decoding.trained import restore
    from palmetto.evaluation.long_context import measure
    from palmetto.tokens.store import TokenStore

    state, _, _ = restore(run)
    store = TokenStore.open(run.validation_store, vocabulary_digest=origin.load_vocabulary(run).digest)
    return measure(recipe, state.parameters, store, times, sequences, say)
