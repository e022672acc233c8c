"""What a class of Hugging Face's transformers must be told, and what a recipe must be for the class to be exact."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from palmetto.interop.rows import Row
from palmetto.model.positions.rotary import RotaryPositions
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model

GATES: Mapping[str, str] = {"swiglu": "silu", "geglu": "gelu", "glu": "sigmoid"}
"""transformers' name of the activation of each gated feed-forward."""
ACTIVATIONS: Mapping[str, str] = {"relu": "relu", "gelu": "gelu", "swish": "silu", "gelu_tanh": "gelu_pytorch_tanh"}
"""transformers' name of each activation without a gate."""

Requirements = Mapping[str, tuple[object, ...]]
"""The values that keys of a recipe may have, by dotted key, the most telling first."""


class Architecture(NamedTuple):
    """Describes a class of transformers, for the recipes for which it computes the same as Palmetto."""

    name: str
    """The class's name."""
    kind: str
    """transformers' `model_type`."""
    requires: Callable[[Model], Requirements]
    rows: Callable[[Model], Sequence[Row]]
    config: Callable[[Recipe], dict[str, Any]]
    """Returns what config.json says besides the tokens, the type and the class."""

    def obstacles(self, recipe: Recipe) -> list[str]:
        """Returns the keys for which the class is not exact, each with its value and those that would do."""
        required = {**self.requires(recipe.model), "training.objective.name": ("causal",)}
        return [
            f"{key}={_shown(found)} (expected {' or '.join(map(_shown, values))})"
            for key, values in required.items()
            if (found := _value(recipe, key)) not in values
        ]


def _value(recipe: Recipe, key: str) -> object:
    found: object = recipe
    for name in key.split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, str | int | float | None) else "given"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def sizes(recipe: Recipe) -> dict[str, Any]:
    """Returns the keys of config.json that most classes share."""
    model = recipe.model
    return {
        "hidden_size": model.d_model,
        "intermediate_size": model.feedforward_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.key_value_heads,
        "head_dim": model.query_size,
        "max_position_embeddings": recipe.model_length,
        "tie_word_embeddings": model.tied_embedding,
    }


def rotary(model: Model) -> dict[str, Any]:
    """Returns the keys of config.json that say how queries and keys are rotated, for rotary positions."""
    positions = model.positions
    assert isinstance(positions, RotaryPositions)
    base, linear = positions.base, positions.scaling == "interpolation"
    if positions.scaling == "ntk":
        base *= positions.factor ** (model.query_size / max(model.query_size - 2, 1))
    how: dict[str, Any] = {"rope_type": "linear", "factor": positions.factor} if linear else {"rope_type": "default"}
    old = {"rope_scaling": {"type": "linear", **how}} if linear else {}
    return {"rope_theta": base, "rope_parameters": {**how, "rope_theta": base}, **old}


ROTARY: Requirements = {
    "model.positions.name": ("rotary",),
    "model.positions.scaling": ("none", "interpolation", "ntk"),
}
