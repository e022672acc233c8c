"""Llama's architecture and its kin: serial blocks with RMSNorm, gated feed-forwards and rotary halves.

Qwen 3 is Llama with normalized queries and keys, Mistral Llama with a sliding window or, later, without.
"""

from collections.abc import Mapping
from typing import Any

from palmetto.interop.architecture import (
    GATES,
    ROTARY,
    Architecture,
    Requirements,
    final_norm,
    named,
    rotary,
    sized,
    sizes,
    turned,
    whole_heads,
)
from palmetto.interop.forms import TRANSPOSED, halves
from palmetto.interop.rows import Row
from palmetto.model.attentions.local import LocalAttention
from palmetto.model.norms import EPSILON
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model

SERIAL_RMS: Requirements = {
    "model.block": ("serial",),
    "model.norm": ("rms",),
    "model.norm_position": ("pre",),
    "model.embedding_norm": (False,),
    "model.feedforward": tuple(GATES),
    **ROTARY,
}
_FULL: Requirements = {"model.experts": (None,), "model.attention.name": ("full",)}


def attention_rows(model: Model) -> list[Row]:
    """Returns the tensors of all but the feed-forward. Pairs lie in halves there.

    The classes do not divide the logits of a tied embedding by √D: the last norm's scale is divided instead.
    """
    layer, pairs = "model.layers.{layer}", halves(model.query_size)
    last = final_norm(model)
    return [
        Row("model.embed_tokens.weight", ("embedding",)),
        Row("model.norm.weight", ("final_norm",), last),
        Row("lm_head.weight", ("output",), TRANSPOSED),
        Row(f"{layer}.input_layernorm.weight", ("norm",)),
        Row(f"{layer}.self_attn.q_proj.weight", ("q",), pairs.then(TRANSPOSED)),
        Row(f"{layer}.self_attn.k_proj.weight", ("k",), pairs.then(TRANSPOSED)),
        Row(f"{layer}.self_attn.v_proj.weight", ("v",), TRANSPOSED),
        Row(f"{layer}.self_attn.o_proj.weight", ("o",), TRANSPOSED),
        Row(f"{layer}.self_attn.q_proj.bias", ("q_bias",), pairs),
        Row(f"{layer}.self_attn.k_proj.bias", ("k_bias",), pairs),
        Row(f"{layer}.self_attn.v_proj.bias", ("v_bias",)),
        Row(f"{layer}.self_attn.o_proj.bias", ("o_bias",)),
        Row(f"{layer}.self_attn.q_norm.weight", ("q_norm",), pairs),
        Row(f"{layer}.self_attn.k_norm.weight", ("k_norm",), pairs),
        Row(f"{layer}.post_attention_layernorm.weight", ("feedforward_norm",)),
    ]


def rows(model: Model) -> list[Row]:
    """Returns the classes' tensors."""
    layer = "model.layers.{layer}"
    return [
        *attention_rows(model),
        Row(f"{layer}.mlp.gate_proj.weight", ("gate",), TRANSPOSED),
        Row(f"{layer}.mlp.up_proj.weight", ("up",), TRANSPOSED),
        Row(f"{layer}.mlp.down_proj.weight", ("down",), TRANSPOSED),
        Row(f"{layer}.mlp.gate_proj.bias", ("gate_bias",)),
        Row(f"{layer}.mlp.up_proj.bias", ("up_bias",)),
        Row(f"{layer}.mlp.down_proj.bias", ("down_bias",)),
    ]


def config(recipe: Recipe) -> dict[str, Any]:
    """Returns the classes' common configuration."""
    model = recipe.model
    return {
        **sizes(recipe),
        **rotary(model),
        "hidden_act": GATES[model.feedforward],
        "rms_norm_eps": EPSILON,
        "attention_bias": model.biases,
    }


def _of_llama(recipe: Recipe) -> dict[str, Any]:
    return {**config(recipe), "mlp_bias": recipe.model.biases}


def _of_qwen(recipe: Recipe) -> dict[str, Any]:
    return {**config(recipe), "use_sliding_window": False}


def _of_mistral(recipe: Recipe) -> dict[str, Any]:
    attention = recipe.model.attention
    return {**config(recipe), "sliding_window": attention.window if isinstance(attention, LocalAttention) else None}


def model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the model sections of the classes' configurations have in common."""
    return {
        **sized(config),
        "block": "serial",
        "norm": "rms",
        "feedforward": named(GATES, config, "hidden_act"),
        "positions": turned(config),
        "biases": config.get("attention_bias", False),
    }


def _mistral_model(config: Mapping[str, Any]) -> dict[str, Any]:
    window = config["sliding_window"]
    return {**model(config), "attention": {"name": "local", "window": window} if window else {"name": "full"}}


DEFAULTS = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
}
LLAMA = Architecture(
    "LlamaForCausalLM",
    "llama",
    lambda model: {**SERIAL_RMS, **_FULL, "model.qk_norm": (False,), **whole_heads(model)},
    rows,
    _of_llama,
    model,
    {**DEFAULTS, "mlp_bias": False},
)
QWEN = Architecture(
    "Qwen3ForCausalLM",
    "qwen3",
    lambda _: {**SERIAL_RMS, **_FULL, "model.qk_norm": (True,), "model.biases": (False,)},
    rows,
    _of_qwen,
    lambda config: {**model(config), "qk_norm": True},
    {**DEFAULTS, "head_dim": 128, "use_sliding_window": False},
)
MISTRAL = Architecture(
    "MistralForCausalLM",
    "mistral",
    lambda _: {
        **SERIAL_RMS,
        "model.experts": (None,),
        "model.attention.name": ("local", "full"),
        "model.attention.every": (1,),
        "model.qk_norm": (False,),
        "model.biases": (False,),
    },
    rows,
    _of_mistral,
    _mistral_model,
    {**DEFAULTS, "sliding_window": 4096},
)
