"""GPT-2's architecture: serial blocks with LayerNorm and biases, learned positions, feed-forwards without a gate."""

from collections.abc import Mapping
from typing import Any

from palmetto.interop.architecture import (
    ACTIVATIONS,
    Architecture,
    Requirements,
    final_norm,
    named,
    size,
    size_or,
    tied,
    whole_heads,
)
from palmetto.interop.forms import TRANSPOSED, joined
from palmetto.interop.rows import Row
from palmetto.model.norms import EPSILON
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model


def requires(model: Model) -> Requirements:
    """Returns the values of a recipe's keys for which the class is exact."""
    return {
        "model.block": ("serial",),
        "model.positions.name": ("learned",),
        "model.norm": ("layer",),
        "model.norm_position": ("pre",),
        "model.norm_bias": (True,),
        "model.biases": (True,),
        "model.embedding_norm": (False,),
        "model.qk_norm": (False,),
        "model.experts": (None,),
        "model.feedforward": tuple(ACTIVATIONS),
        "model.attention.name": ("full",),
        "model.key_value_heads": (model.heads,),
        **whole_heads(model),
        "model.head_size": (model.d_model // model.heads,),
    }


def rows(model: Model) -> list[Row]:
    """Returns the class's tensors. Its kernels are [n_in, n_out], and those of q, k and v lie side by side.

    The class does not divide the logits of a tied embedding by √D: the last norm's scale and bias are divided instead.
    """
    layer, width = "transformer.h.{layer}", model.heads * model.query_size
    side_by_side = joined(width, width, width)
    last = final_norm(model)
    return [
        Row("transformer.wte.weight", ("embedding",)),
        Row("transformer.wpe.weight", ("positions",)),
        Row("transformer.ln_f.weight", ("final_norm",), last),
        Row("transformer.ln_f.bias", ("final_norm_bias",), last),
        Row("lm_head.weight", ("output",), TRANSPOSED),
        Row(f"{layer}.ln_1.weight", ("norm",)),
        Row(f"{layer}.ln_1.bias", ("norm_bias",)),
        Row(f"{layer}.attn.c_attn.weight", ("q", "k", "v"), side_by_side),
        Row(f"{layer}.attn.c_attn.bias", ("q_bias", "k_bias", "v_bias"), side_by_side),
        Row(f"{layer}.attn.c_proj.weight", ("o",)),
        Row(f"{layer}.attn.c_proj.bias", ("o_bias",)),
        Row(f"{layer}.ln_2.weight", ("feedforward_norm",)),
        Row(f"{layer}.ln_2.bias", ("feedforward_norm_bias",)),
        Row(f"{layer}.mlp.c_fc.weight", ("up",)),
        Row(f"{layer}.mlp.c_fc.bias", ("up_bias",)),
        Row(f"{layer}.mlp.c_proj.weight", ("down",)),
        Row(f"{layer}.mlp.c_proj.bias", ("down_bias",)),
    ]


def config(recipe: Recipe) -> dict[str, Any]:
    """Returns the class's configuration."""
    model = recipe.model
    return {
        "n_embd": model.d_model,
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_inner": model.feedforward_size,
        "n_positions": model.positions.end,
        "activation_function": ACTIVATIONS[model.feedforward],
        "layer_norm_epsilon": EPSILON,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": bool(model.tied_embedding),
    }


def model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the model section of a configuration."""
    return {
        "layers": size(config, "n_layer"),
        "d_model": size(config, "n_embd"),
        "heads": size(config, "n_head"),
        "key_value_heads": size(config, "n_head"),
        "d_ff": size_or(config, "n_inner", 4 * size(config, "n_embd")),
        "block": "serial",
        "norm_bias": True,
        "biases": True,
        "feedforward": named(ACTIVATIONS, config, "activation_function"),
        "positions": {"name": "learned", "length": size(config, "n_positions")},
        "tied_embedding": tied(config),
    }


DEFAULTS = {
    "n_inner": None,
    "activation_function": "gelu_pytorch_tanh",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
}
GPT2 = Architecture(
    "GPT2LMHeadModel",
    "gpt2",
    requires,
    rows,
    config,
    model,
    DEFAULTS,
    length="n_positions",
    prefix="transformer.",
    buffers=(".attn.bias", ".attn.masked_bias"),
    aliases={
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
    },
)
