"""GPT-NeoX's architecture in serial blocks: LayerNorm and biases, rotary halves, feed-forwards without a gate.

Its parallel blocks have a norm for each half, which recipes lack.
"""

from collections.abc import Mapping
from typing import Any

from palmetto.errors import UserError
from palmetto.interop.architecture import (
    ACTIVATIONS,
    ROTARY,
    Architecture,
    Requirements,
    final_norm,
    named,
    rotary,
    sized,
    sizes,
    turned,
)
from palmetto.interop.architectures import bloom, gpt2
from palmetto.interop.forms import AS_IS, TRANSPOSED, by_head, halves
from palmetto.interop.rows import Row
from palmetto.model.norms import EPSILON
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model


def requires(model: Model) -> Requirements:
    """Returns the values of a recipe's keys for which the class is exact: GPT-2's, with rotary positions."""
    return {**gpt2.requires(model), **ROTARY}


def rows(model: Model) -> list[Row]:
    """Returns the class's tensors. The kernels of q, k and v are joined head by head, pairs in halves."""
    pairs, last = halves(model.query_size), final_norm(model)
    heads = by_head(model.query_size, pairs, pairs, AS_IS)
    return [
        Row("gpt_neox.embed_in.weight", ("embedding",)),
        Row("gpt_neox.final_layer_norm.weight", ("final_norm",), last),
        Row("gpt_neox.final_layer_norm.bias", ("final_norm_bias",), last),
        Row("embed_out.weight", ("output",), TRANSPOSED),
        *bloom.layer_rows("gpt_neox.layers.{layer}", "attention", heads),
    ]


def config(recipe: Recipe) -> dict[str, Any]:
    """Returns the class's configuration. Older versions read the keys with rotary_."""
    turns = rotary(recipe.model)
    return {
        **sizes(recipe),
        **turns,
        "rope_parameters": {**turns["rope_parameters"], "partial_rotary_factor": 1.0},
        "rotary_pct": 1.0,
        "rotary_emb_base": turns["rope_theta"],
        "hidden_act": ACTIVATIONS[recipe.model.feedforward],
        "layer_norm_eps": EPSILON,
        "use_parallel_residual": False,
        "attention_bias": True,
    }


def model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the model section of a configuration."""
    return {
        **sized(config),
        "block": "serial",
        "norm_bias": True,
        "biases": True,
        "feedforward": named(ACTIVATIONS, config, "hidden_act"),
        "positions": turned({**config, "rope_theta": _base(config)}),
    }


def _base(config: Mapping[str, Any]) -> Any:
    """Returns the base of rotary positions, under either name. Raises UserError if both are there and differ."""
    found = [config[key] for key in ("rotary_emb_base", "rope_theta") if config.get(key) is not None]
    if any(base != found[0] for base in found):
        raise UserError("config.json: rope_theta: differs from rotary_emb_base; expected one of them")
    return found[0] if found else 10000.0


DEFAULTS = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "use_parallel_residual": True,
    "attention_bias": True,
    "rotary_pct": 0.25,
}
NEOX = Architecture(
    "GPTNeoXForCausalLM",
    "gpt_neox",
    requires,
    rows,
    config,
    model,
    DEFAULTS,
    prefix="gpt_neox.",
    buffers=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
)
