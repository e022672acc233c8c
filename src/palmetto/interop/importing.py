"""Makes a run of an imported folder: its recipe, its vocabulary, and its weights as the checkpoint of step 0."""

from pathlib import Path

import jax.numpy as jnp

from palmetto.errors import UserError
from palmetto.files import names_in, sync_directory, temporary_folder, write_json, write_text
from palmetto.host import environment
from palmetto.interop import origin
from palmetto.interop.origin import Origin
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import restack
from palmetto.parallel.sharding import Spread
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training import optimization
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.ledger import START
from palmetto.training.step import loss_scale
from palmetto.training.step.state import State


def check(run: RunDirectory) -> None:
    """Raises UserError unless the directory is new or empty."""
    if names_in(run.path):
        raise UserError(f"--run {run.path}: not empty; expected a new or an empty directory")


def make(source: Path, run: RunDirectory) -> Vocabulary | str:
    """Makes the run, and returns its vocabulary, or why the folder's tokenizer cannot be one.

    A new directory is whole or absent. Into an empty one files are moved when all are written.

    Raises UserError if the folder cannot be a run, or the directory is not empty.
    """
    check(run)
    if source.resolve() in run.path.resolve().parents:
        raise UserError(f"--run {run.path}: within {source}, which is imported; expected another place")
    found, place = origin.read(source), run.path.resolve()
    there = place.exists()
    inside = place if there else place.parent
    inside.mkdir(parents=True, exist_ok=True)
    with temporary_folder(".import-", inside) as temporary:
        made = temporary / "run"
        made.mkdir()
        _write(found, RunDirectory(made))
        if there:
            _move(made, run, temporary.name)
        else:
            check(run)
            made.rename(place)
    sync_directory(inside)
    return found.vocabulary


def _move(made: Path, run: RunDirectory, besides: str) -> None:
    """Moves what a folder holds into an empty directory, which may be a mount point, the checkpoints last."""
    if set(names_in(run.path)) != {besides}:
        check(run)
    for path in sorted(made.iterdir(), key=lambda path: path.name == run.checkpoints.name):
        path.rename(run.path / path.name)


def _write(found: Origin, run: RunDirectory) -> None:
    recipe, table = found.recipe, parameter_table(found.recipe)
    parameters = restack({name: jnp.asarray(matrix) for name, matrix in found.matrices.items()}, table)
    spreads = {name: Spread(weight.stack) for name, weight in table.items()}
    optimizer = optimization.make(recipe.training.optimizer, table, spreads)
    scaled = recipe.model.activations == "float16"
    scale = loss_scale.initial(recipe.training.loss_scale) if scaled else None
    with run.locked():
        checkpoints = Checkpoints(run.checkpoints, table)
        state = State(parameters, optimizer.init(parameters), scale)
        checkpoints.save(state, step=0, attempt=0, recipe=recipe.digest, tokens="", chain=START)
        checkpoints.wait()
        if isinstance(found.vocabulary, Vocabulary):
            found.vocabulary.save(run.vocabulary)
        # The weights came as they are: what is done with them begins with the recipe's threads, not with those of here.
        here = environment.record(recipe.mesh_record, recipe.inelastic) | {"threads": recipe.training.threads}
        write_json(run.environment, here)
        write_text(run.recipe_file, loading.dump(recipe))
