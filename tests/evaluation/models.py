"""Makes a small model with a vocabulary of its own: its parameters, its run directory, and what reads text for it."""

import inspect
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from palmetto.evaluation.queries import Reader, ask
from palmetto.evaluation.tasks.task import Example, Task
from palmetto.files import write_text
from palmetto.model.parameters import parameter_table
from palmetto.parallel.sharding import Spread
from palmetto.recipe import loading
from palmetto.recipe.objectives import CausalObjective
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.prompts import Prompts
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training import optimization
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.step.state import State
from tests.conftest import RecipeMaker
from tests.references import decoder as reference

SIZE, LENGTH, HEADS = 400, 64, 2


@cache
def vocabulary() -> Vocabulary:
    """Returns a vocabulary of the text of a module."""
    return Vocabulary.train([inspect.getsource(textwrap)], SIZE, "bpe")


def reader(length: int = LENGTH, objective: Any = None) -> Reader:
    """Returns what turns text into ids for a model of this length."""
    return Reader(Prompts(vocabulary(), objective or CausalObjective(), SIZE, length), length)


def prompt(task: Task, example: Example, shots: Sequence[Example] = ()) -> str:
    """Returns the text in front of what a model says about an example, of which nothing is cut."""
    return ask(task, example, shots, reader(4096))[0].context


@cache
def arrays() -> dict[str, Any]:
    """Returns the drawn parameters of the model."""
    return dict(reference.draw(3, layers=2, d_model=32, heads=HEADS, head_size=16, d_ff=128, vocabulary=SIZE))


def logprobs(ids: list[int]) -> list[float]:
    """Returns the log-probabilities of all ids but the first, by the reference in float64."""
    logits = reference.logits(arrays(), np.array([ids]), HEADS)[0]
    highest = logits.max(axis=1, keepdims=True)
    log = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
    return [float(log[place, id]) for place, id in enumerate(ids[1:])]


def trained(tiny_recipe: RecipeMaker, folder: Path) -> RunDirectory:
    """Returns a run whose only checkpoint, of step 8, has the drawn parameters."""
    run = RunDirectory(folder)
    recipe = tiny_recipe(f"tokens.vocabulary_size={SIZE}", f"tokens.sequence_length={LENGTH}")
    write_text(run.recipe_file, loading.dump(recipe))
    vocabulary().save(run.vocabulary)
    table = parameter_table(recipe)
    parameters = {name: jnp.asarray(array) for name, array in arrays().items()}
    spreads = {name: Spread(of.stack) for name, of in table.items()}
    optimizer = optimization.make(recipe.training.optimizer, table, spreads)
    checkpoints = Checkpoints(run.checkpoints, table)
    state = State(parameters, optimizer.init(parameters), None)
    checkpoints.save(state, step=8, attempt=0, recipe=recipe.digest, tokens="", chain="")
    checkpoints.wait()
    return run
