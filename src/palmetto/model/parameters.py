"""The table of a run's parameters: the weights of its model and their adapters, and which of them are trained."""

from palmetto.errors import UserError
from palmetto.model.adapters import matching, with_adapters
from palmetto.model.weights import Table, weight_table
from palmetto.recipe import Recipe


def parameter_table(recipe: Recipe) -> Table:
    """Returns the rows of all parameters; with adapters all other weights are frozen.

    Raises UserError for a pattern that no weight matches, or if nothing is left to train.
    """
    lora = recipe.model.lora
    table = with_adapters(weight_table(recipe.model, recipe.model_vocabulary), lora)
    frozen = set(matching(recipe.training.frozen or (), table, "training.frozen"))
    if lora is not None:
        frozen |= {name for name, row in table.items() if row.adapts is None}
    if len(frozen) == len(table):
        patterns = ", ".join(recipe.training.frozen or ())
        raise UserError(f"training.frozen={patterns}: nothing is left to train; expected patterns of some weights")
    return {name: row._replace(frozen=name in frozen) for name, row in table.items()}
