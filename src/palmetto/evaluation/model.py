"""Holds a checkpoint as an evaluation needs it: an engine, and what turns text into ids."""

from pathlib import Path
from typing import Any

from palmetto.decoding.engine import Engine
from palmetto.decoding.limits import Limits
from palmetto.decoding.trained import held, restore
from palmetto.evaluation.queries import Reader
from palmetto.recipe.model import Weights
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.prompts import Prompts
from palmetto.training.origin import load_vocabulary


class EvaluatedModel:
    """Holds the engine of a checkpoint, for prompts of up to the length that the model was trained on."""

    def __init__(self, run: RunDirectory, step: int | None, weights: Weights | None = None) -> None:
        """Loads a checkpoint, by default the newest; raises the errors of `restore`. weights: as TrainedModel's."""
        recipe = run.recipe_to_read()
        vocabulary = load_vocabulary(run)
        state, self.step, checkpoints = restore(run, step)
        arranged = held(state.parameters, recipe, weights)
        limits = Limits(longest=recipe.model_length)
        self.engine = Engine(arranged, recipe.model, limits, vocabulary_size=recipe.tokens.vocabulary_size)
        self.reader = Reader(Prompts.of(recipe, vocabulary), recipe.model_length)
        self.identity: dict[str, Any] = {
            "run": str(Path(run.path).resolve()),
            "step": self.step,
            "parameters": checkpoints.sealed(self.step).parameters,
            "size": sum(array.size for array in state.parameters.values()),
            "vocabulary": vocabulary.digest,
            "weights": weights,
            "engine": self.engine.fingerprint,
        }
        """The values that identify the model, and the program that gives its bits."""
