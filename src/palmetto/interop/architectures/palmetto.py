"""A class of our own, for the recipes that no class of transformers is exact for; its code is part of the export."""

from typing import Any

from palmetto.interop.architecture import Architecture, Requirements
from palmetto.interop.rows import Row
from palmetto.model.weights import weight_table
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model

CODE = "modeling_palmetto"
"""The module of peers/ that is copied beside the weights."""


def requires(model: Model) -> Requirements:
    """Returns the recipes that the code knows all kinds of."""
    return {
        "model.positions.name": ("rotary", "alibi", "t5", "transformer_xl", "learned", "sinusoidal"),
        "model.attention.name": ("full", "local", "strided", "sinks", "parallel_windows", "memory"),
        "training.objective.name": ("causal", "prefix", "spans", "mixture", "examples", "preferences"),
    }


def rows(model: Model) -> list[Row]:
    """Returns a row for each weight, in the form that Palmetto stores."""
    places = ("ends.{}", "layers.{{layer}}.{}", "layers.{{layer}}.{}.{{expert}}")
    table = weight_table(model, 1)
    return [Row(places[weight.stack].format(name), (name,)) for name, weight in table.items()]


def config(recipe: Recipe) -> dict[str, Any]:
    """Returns the class's configuration: the recipe's model section, and the shapes of the weights."""
    table = weight_table(recipe.model, recipe.model_vocabulary)
    weights = {
        name: {
            "shape": weight.shape[weight.stack :],
            "layers": weight.layers,
            "experts": weight.shape[1] if weight.of_expert else None,
        }
        for name, weight in table.items()
    }
    return {
        "auto_map": {
            "AutoConfig": f"{CODE}.PalmettoConfig",
            "AutoModelForCausalLM": f"{CODE}.PalmettoForCausalLM",
        },
        "recipe_model": recipe.model.model_dump(exclude={"lora"}),
        "weights": weights,
        "max_position_embeddings": recipe.model_length,
        "tie_word_embeddings": False,
    }


PALMETTO = Architecture("PalmettoForCausalLM", "palmetto", requires, rows, config)
