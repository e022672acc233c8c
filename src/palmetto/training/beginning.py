"""The state before the first step: drawn from the seed, or the parameters of the run that fine-tuning begins with."""

from pathlib import Path

import jax

from palmetto.errors import UserError
from palmetto.model.adapters import merged, without_adapters
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import Parameters, Weight, weight_table
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe.finetuning import Finetuning
from palmetto.runs.directory import RunDirectory
from palmetto.training.base import check_base
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.step import state as states
from palmetto.training.step.state import State


def check_weights(recipe: Recipe) -> None:
    """Checks that a fine-tuning has the weights of its base, with more rows only for pieces of the vocabulary.

    Raises UserError if the base is not there, if the model needs others, or if the new rows would not be trained.
    """
    begun = recipe.finetuning
    assert begun is not None
    check_base(begun)
    theirs = RunDirectory(Path(begun.base)).recipe
    before, after = weight_table(theirs.model, theirs.model_vocabulary), parameter_table(recipe)
    for name in before | without_adapters(after):
        old, new = (table[name].shape if name in table else None for table in (before, after))
        if old == new:
            continue
        if old is None or new is None or not _is_larger(before[name], new):
            changed = "; ".join(each for each in recipe.differences(theirs) if each.startswith("model."))
            raise UserError(
                f"{changed}: needs the weight {name} as {_shown(new)}, and {begun.base} has {_shown(old)}; expected a "
                "change that needs no other weights"
            )
        if after[name].frozen:
            raise UserError(
                f"finetuning.pieces: the new rows of {name} would stay as they are drawn, since it is not trained; "
                "expected neither adapters (--lora) nor training.frozen for it"
            )


def _is_larger(old: Weight, shape: tuple[int, ...]) -> bool:
    """Returns whether a shape has more rows of the vocabulary than a weight, and nothing else differs."""
    if len(shape) != len(old.shape):
        return False
    pairs = zip(old.axes, old.shape, shape, strict=True)
    return all(after == before or (axis == "vocabulary" and after > before) for axis, before, after in pairs)


def _shown(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else str(list(shape))


def initial_state(recipe: Recipe, sharding: Sharding) -> State:
    """Returns the state before the first step, sharded over the mesh; the optimizer's state is always new.

    Raises UserError if fine-tuning begins with a run that has been moved or altered.
    """
    state = states.initial_state(recipe, sharding)
    if recipe.finetuning is None:
        return state
    base, places = _of_base(recipe, recipe.finetuning), states.places(recipe, sharding).parameters
    drawn = {name: state.parameters[name] for name in base}
    grown = jax.jit(_over, out_shardings={name: places[name] for name in base})
    parameters: Parameters = grown(drawn, base)
    return state._replace(parameters=state.parameters | parameters)


def _over(drawn: Parameters, base: Parameters) -> Parameters:
    """Returns the drawn parameters with the base's in place of their first rows.

    These are all rows, unless pieces have been added to the vocabulary.
    """
    return {name: jax.lax.dynamic_update_slice(array, base[name], (0,) * array.ndim) for name, array in drawn.items()}


def _of_base(recipe: Recipe, begun: Finetuning) -> Parameters:
    """Returns the parameters of the base, on the mesh of the recipe."""
    check_base(begun)
    run = RunDirectory(Path(begun.base))
    theirs = run.recipe.model_copy(update={"mesh": recipe.mesh})
    checkpoints = Checkpoints(run.checkpoints, parameter_table(theirs))
    checkpoints.manifest(begun.step)
    sharding = Sharding(theirs)
    found = checkpoints.restore(begun.step, states.shapes(theirs, sharding)).parameters
    return merged(found, without_adapters(sharding.table), theirs.model.lora)
