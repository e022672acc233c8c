"""BLOOM's architecture: GPT-2's, with ALiBi, a norm after the embedding, and GELU approximated by tanh."""

from collections.abc import Mapping
from typing import Any

from palmetto.interop.architecture import Architecture, Requirements, final_norm, size, tied, whole_heads
from palmetto.interop.forms import AS_IS, TRANSPOSED, Form, by_head
from palmetto.interop.rows import Row
from palmetto.model.norms import EPSILON
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model


def requires(model: Model) -> Requirements:
    """Returns the values of a recipe's keys for which the class is exact."""
    return {
        "model.block": ("serial",),
        "model.positions.name": ("alibi",),
        "model.embedding_norm": (True,),
        "model.norm": ("layer",),
        "model.norm_position": ("pre",),
        "model.norm_bias": (True,),
        "model.biases": (True,),
        "model.qk_norm": (False,),
        "model.experts": (None,),
        "model.feedforward": ("gelu_tanh",),
        "model.attention.name": ("full",),
        "model.key_value_heads": (model.heads,),
        **whole_heads(model),
        "model.head_size": (model.d_model // model.heads,),
        "model.d_ff": (4 * model.d_model,),
    }


def rows(model: Model) -> list[Row]:
    """Returns the class's tensors. The kernels of q, k and v are joined head by head.

    The class does not divide the logits of a tied embedding by √D: the last norm's scale and bias are divided instead.
    """
    layer, heads = "transformer.h.{layer}", by_head(model.query_size, AS_IS, AS_IS, AS_IS)
    last = final_norm(model)
    return [
        Row("transformer.word_embeddings.weight", ("embedding",)),
        Row("transformer.word_embeddings_layernorm.weight", ("embedding_norm",)),
        Row("transformer.word_embeddings_layernorm.bias", ("embedding_norm_bias",)),
        Row("transformer.ln_f.weight", ("final_norm",), last),
        Row("transformer.ln_f.bias", ("final_norm_bias",), last),
        Row("lm_head.weight", ("output",), TRANSPOSED),
        *layer_rows(layer, "self_attention", heads),
    ]


def layer_rows(layer: str, attention: str, heads: Form) -> list[Row]:
    """Returns the tensors of a layer as BLOOM and GPT-NeoX name them; only their names of attention differ."""
    return [
        Row(f"{layer}.input_layernorm.weight", ("norm",)),
        Row(f"{layer}.input_layernorm.bias", ("norm_bias",)),
        Row(f"{layer}.{attention}.query_key_value.weight", ("q", "k", "v"), heads.then(TRANSPOSED)),
        Row(f"{layer}.{attention}.query_key_value.bias", ("q_bias", "k_bias", "v_bias"), heads),
        Row(f"{layer}.{attention}.dense.weight", ("o",), TRANSPOSED),
        Row(f"{layer}.{attention}.dense.bias", ("o_bias",)),
        Row(f"{layer}.post_attention_layernorm.weight", ("feedforward_norm",)),
        Row(f"{layer}.post_attention_layernorm.bias", ("feedforward_norm_bias",)),
        Row(f"{layer}.mlp.dense_h_to_4h.weight", ("up",), TRANSPOSED),
        Row(f"{layer}.mlp.dense_h_to_4h.bias", ("up_bias",)),
        Row(f"{layer}.mlp.dense_4h_to_h.weight", ("down",), TRANSPOSED),
        Row(f"{layer}.mlp.dense_4h_to_h.bias", ("down_bias",)),
    ]


def config(recipe: Recipe) -> dict[str, Any]:
    """Returns the class's configuration."""
    model = recipe.model
    return {
        "hidden_size": model.d_model,
        "n_layer": model.layers,
        "n_head": model.heads,
        "layer_norm_epsilon": EPSILON,
        "apply_residual_connection_post_layernorm": False,
        "slow_but_exact": False,
        "tie_word_embeddings": bool(model.tied_embedding),
        "seq_length": recipe.model_length,
    }


def model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the model section of a configuration."""
    return {
        "layers": size(config, "n_layer"),
        "d_model": size(config, "hidden_size"),
        "heads": size(config, "n_head"),
        "key_value_heads": size(config, "n_head"),
        "block": "serial",
        "norm_bias": True,
        "embedding_norm": True,
        "biases": True,
        "feedforward": "gelu_tanh",
        "positions": {"name": "alibi"},
        "tied_embedding": tied(config),
    }


DEFAULTS = {
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
    "apply_residual_connection_post_layernorm": False,
    "slow_but_exact": False,
    "seq_length": 2048,
}
BLOOM = Architecture(
    "BloomForCausalLM",
    "bloom",
    requires,
    rows,
    config,
    model,
    DEFAULTS,
    length="seq_length",
    prefix="transformer.",
    aliases={"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
)
