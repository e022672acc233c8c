"""Cohere's architecture, which is PaLM's: a parallel block after one LayerNorm without bias, rotary pairs, SwiGLU."""

from collections.abc import Mapping
from typing import Any

from palmetto.interop.architecture import GATES, ROTARY, Architecture, Requirements, named, rotary, sized, sizes, turned
from palmetto.interop.forms import TRANSPOSED, repeated
from palmetto.interop.rows import Row
from palmetto.model.norms import EPSILON
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model


def requires(model: Model) -> Requirements:
    """Returns the values of a recipe's keys for which the class is exact."""
    return {
        "model.block": ("parallel",),
        "model.norm": ("layer",),
        "model.norm_position": ("pre",),
        "model.norm_bias": (False,),
        "model.embedding_norm": (False,),
        "model.biases": (False,),
        "model.experts": (None,),
        "model.feedforward": tuple(GATES),
        "model.attention.name": ("full",),
        **ROTARY,
    }


def rows(model: Model) -> list[Row]:
    """Returns the class's tensors. Pairs lie side by side there too; a head's norm has a scale for each head."""
    layer = "model.layers.{layer}"
    return [
        Row("model.embed_tokens.weight", ("embedding",)),
        Row("model.norm.weight", ("final_norm",)),
        Row("lm_head.weight", ("output",), TRANSPOSED),
        Row(f"{layer}.input_layernorm.weight", ("norm",)),
        Row(f"{layer}.self_attn.q_proj.weight", ("q",), TRANSPOSED),
        Row(f"{layer}.self_attn.k_proj.weight", ("k",), TRANSPOSED),
        Row(f"{layer}.self_attn.v_proj.weight", ("v",), TRANSPOSED),
        Row(f"{layer}.self_attn.o_proj.weight", ("o",), TRANSPOSED),
        Row(f"{layer}.self_attn.q_norm.weight", ("q_norm",), repeated(model.heads)),
        Row(f"{layer}.self_attn.k_norm.weight", ("k_norm",), repeated(model.key_value_heads)),
        Row(f"{layer}.mlp.gate_proj.weight", ("gate",), TRANSPOSED),
        Row(f"{layer}.mlp.up_proj.weight", ("up",), TRANSPOSED),
        Row(f"{layer}.mlp.down_proj.weight", ("down",), TRANSPOSED),
    ]


def config(recipe: Recipe) -> dict[str, Any]:
    """Returns the class's configuration."""
    model = recipe.model
    return {
        **sizes(recipe),
        **rotary(model),
        "hidden_act": GATES[model.feedforward],
        "layer_norm_eps": EPSILON,
        "logit_scale": model.d_model**-0.5 if model.tied_embedding is True else 1.0,
        "use_qk_norm": model.qk_norm,
        "attention_bias": False,
    }


def model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the model section of a configuration."""
    divided = config["tie_word_embeddings"] and config["logit_scale"] != 1
    return {
        **sized(config),
        **({"tied_embedding": True} if divided else {}),
        "feedforward": named(GATES, config, "hidden_act"),
        "positions": turned(config),
        "qk_norm": config["use_qk_norm"],
    }


DEFAULTS = {
    "hidden_act": "silu",
    "layer_norm_eps": 1e-5,
    "logit_scale": 0.0625,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "use_qk_norm": False,
    "attention_bias": False,
}
COHERE = Architecture("CohereForCausalLM", "cohere", requires, rows, config, model, DEFAULTS)
