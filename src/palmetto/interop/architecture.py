"""Describes the settings of a class of Hugging Face's transformers, and the recipes for which the class is exact."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from palmetto.errors import UserError
from palmetto.interop.forms import AS_IS, Array, Form, scaled
from palmetto.interop.rows import Row
from palmetto.model.positions.rotary import RotaryPositions
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model

GATES: Mapping[str, str] = {"swiglu": "silu", "geglu": "gelu", "glu": "sigmoid"}
"""transformers' name of the activation of each gated feed-forward."""
ACTIVATIONS: Mapping[str, str] = {"relu": "relu", "gelu": "gelu", "swish": "silu", "gelu_tanh": "gelu_pytorch_tanh"}
"""transformers' name of each activation without a gate."""
ALIASES: Mapping[str, str] = {"gelu_new": "gelu_pytorch_tanh", "swish": "silu"}
"""transformers' second names of activations."""
HEADS = ("lm_head.weight", "embed_out.weight")
"""The names of an output kernel."""

SOME = "some"
"""The value of a key for a part that may be absent, if it is there."""
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
    model: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Returns the model section of the recipe for a config.json; None if models of the class are not imported."""
    defaults: Mapping[str, Any] = {}
    """The class's values of keys that a config.json may leave out."""
    length: str = "max_position_embeddings"
    """The key of the number of positions."""
    prefix: str = "model."
    """The prefix that older folders leave out of names."""
    buffers: tuple[str, ...] = (".rotary_emb.inv_freq",)
    """The endings of the names of tensors that older folders hold and that are no weights."""
    aliases: Mapping[str, str] = {}
    """The class's keys by the other names that transformers takes for them."""

    @property
    def nullable(self) -> set[str]:
        """The keys that may be null, as if they were absent."""
        return {"num_key_value_heads", "head_dim", *(key for key, value in self.defaults.items() if value is None)}

    def obstacles(self, recipe: Recipe) -> list[str]:
        """Returns the keys for which the class is not exact, each with its value and those that would do.

        A key of a part that the model lacks is not reported, since the part's own key is.
        """
        required = {"training.objective.name": ("causal", "examples", "preferences"), **self.requires(recipe.model)}
        return [
            f"{key}={_shown(found)} (expected {' or '.join(map(_shown, values))})"
            for key, values in required.items()
            if (found := _value(recipe, key)) not in (*values, _ABSENT)
        ]

    def full_names(self, found: Mapping[str, Array]) -> dict[str, Array]:
        """Returns a folder's tensors under the class's names, of which older folders leave out `prefix`."""
        bare = not any(name.startswith(self.prefix) for name in found)
        return {self.prefix + name if bare and name not in HEADS else name: array for name, array in found.items()}


def nearest(architectures: Sequence[Architecture], recipe: Recipe, runtime: str) -> Architecture:
    """Returns the first architecture of a runtime that computes what the recipe's model does.

    Raises UserError if none does, with the reasons for which the nearest one does not.
    """
    obstacles = {each.name: each.obstacles(recipe) for each in architectures}
    best = min(architectures, key=lambda each: len(obstacles[each.name]))
    if found := obstacles[best.name]:
        raise UserError(
            f"{recipe.name}: no architecture of {runtime} computes this model; the nearest is {best.name}, but for "
            f"{', '.join(found)}"
        )
    return best


_ABSENT = object()


def _value(recipe: Recipe, key: str) -> object:
    found: object = recipe
    for name in key.split("."):
        found = getattr(found, name, _ABSENT)
    return found if isinstance(found, str | int | float | None) or found is _ABSENT else SOME


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
        "tie_word_embeddings": bool(model.tied_embedding),
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


def sized(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of a model section that the keys of `sizes` give."""
    heads, width = size(config, "num_attention_heads"), size(config, "hidden_size")
    return {
        "layers": size(config, "num_hidden_layers"),
        "d_model": width,
        "heads": heads,
        "key_value_heads": size_or(config, "num_key_value_heads", heads),
        "head_size": size_or(config, "head_dim", width // heads),
        "d_ff": size(config, "intermediate_size"),
        "tied_embedding": tied(config),
    }


def size(config: Mapping[str, Any], key: str) -> int:
    """Returns a whole number of at least 1. Raises UserError for anything else, and KeyError without the key."""
    value = config[key]
    if type(value) is not int or value < 1:
        raise UserError(f"config.json: {key}={json.dumps(value)[:40]}: expected a whole number of at least 1")
    return value


def size_or(config: Mapping[str, Any], key: str, otherwise: int) -> int:
    """Returns what `size` does, or another number if the key is absent or null."""
    return otherwise if config.get(key) is None else size(config, key)


def tied(config: Mapping[str, Any]) -> bool | str:
    """Returns whether the embedding gives the logits too, which most classes do not divide."""
    return "undivided" if config["tie_word_embeddings"] else False


def turned(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the rotary positions of a config.json. Raises UserError for a way of scaling that recipes lack."""
    how, older = (_scaling(config, key) for key in ("rope_parameters", "rope_scaling"))
    if how and older and _scaled(how, config) != _scaled(older, config):
        raise UserError("config.json: rope_scaling: differs from rope_parameters; expected one of them")
    how = how or older
    kind = _kind(how)
    base = how.get("rope_theta", config["rope_theta"])
    part = how.get("partial_rotary_factor", config.get("partial_rotary_factor", config.get("rotary_pct")))
    if part not in (None, 1):
        raise UserError(f"config.json: partial_rotary_factor={part}: expected 1, since recipes rotate whole heads")
    if kind == "default":
        return {"name": "rotary", "base": base}
    if kind == "linear":
        if "factor" not in how:
            raise UserError("config.json: rope_parameters: lacks factor, which rope_type=linear needs")
        return {"name": "rotary", "base": base, "scaling": "interpolation", "factor": how["factor"]}
    raise UserError(f"config.json: rope_type={kind}: expected default or linear, which recipes have")


def _scaling(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Returns the object that says how rotary positions are scaled, empty if there is none.

    Raises UserError if it is anything else.
    """
    how = {} if config.get(key) is None else config[key]
    if not isinstance(how, dict):
        raise UserError(f"config.json: {key}={json.dumps(how)[:40]}: expected an object")
    return how


def _kind(how: Mapping[str, Any]) -> Any:
    return how.get("rope_type", how.get("type", "default"))


def _scaled(how: Mapping[str, Any], config: Mapping[str, Any]) -> list[Any]:
    return [_kind(how), how.get("factor"), how.get("rope_theta", config["rope_theta"])]


def final_norm(model: Model) -> Form:
    """Returns the form of the last norm's weights for a runtime that does not divide the logits of a tied embedding."""
    return scaled(model.d_model**-0.5) if model.tied_embedding is True else AS_IS


def named(names: Mapping[str, str], config: Mapping[str, Any], key: str) -> str:
    """Returns our name of an activation. Raises UserError for one that recipes lack."""
    found = [name for name, theirs in names.items() if theirs == config[key]]
    if not found:
        raise UserError(f"config.json: {key}={config[key]}: expected {' or '.join(names.values())}, which recipes have")
    return found[0]


def whole_heads(model: Model) -> Requirements:
    """Returns the numbers of heads that a class takes which refuses others than divisors of the width."""
    divisors = (heads for heads in range(1, model.d_model + 1) if model.d_model % heads == 0)
    return {"model.heads": (model.heads,) if model.d_model % model.heads == 0 else tuple(divisors)}


ROTARY: Requirements = {
    "model.positions.name": ("rotary",),
    "model.positions.scaling": ("none", "interpolation", "ntk"),
}
