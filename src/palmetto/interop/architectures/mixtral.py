"""Mixtral's architecture: Llama's, with dropless experts in every layer."""

from collections.abc import Mapping
from typing import Any

from palmetto.interop.architecture import GATES, SOME, Architecture, Requirements
from palmetto.interop.architectures import llama
from palmetto.interop.forms import TRANSPOSED
from palmetto.interop.rows import Row
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model


def requires(model: Model) -> Requirements:
    """Returns the values of a recipe's keys for which the class is exact."""
    return {
        **llama.SERIAL_RMS,
        "model.experts": (SOME,),
        "model.experts.every": (1,),
        "model.experts.capacity_factor": (None,),
        "model.experts.feedforward": (None, *GATES),
        "model.attention.name": ("full",),
        "model.qk_norm": (False,),
    }


def rows(model: Model) -> list[Row]:
    """Returns the class's tensors."""
    experts = "model.layers.{layer}.block_sparse_moe"
    return [
        *llama.attention_rows(model),
        Row(f"{experts}.gate.weight", ("router",), TRANSPOSED),
        Row(f"{experts}.experts.{{expert}}.w1.weight", ("expert_gate",), TRANSPOSED),
        Row(f"{experts}.experts.{{expert}}.w2.weight", ("expert_down",), TRANSPOSED),
        Row(f"{experts}.experts.{{expert}}.w3.weight", ("expert_up",), TRANSPOSED),
    ]


def config(recipe: Recipe) -> dict[str, Any]:
    """Returns the class's configuration."""
    model = recipe.model
    assert model.experts is not None
    return {
        **llama.config(recipe),
        "hidden_act": GATES[model.expert_feedforward],
        "intermediate_size": model.expert_size,
        "num_local_experts": model.experts.count,
        "num_experts_per_tok": model.experts.top,
        "router_aux_loss_coef": model.experts.balance_loss,
        "sliding_window": None,
    }


def model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the model section of a configuration."""
    experts = {
        "count": config["num_local_experts"],
        "top": config["num_experts_per_tok"],
        "every": 1,
        "balance_loss": config["router_aux_loss_coef"],
    }
    return {**llama.model(config), "experts": experts}


DEFAULTS = {
    **llama.DEFAULTS,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "router_aux_loss_coef": 0.001,
}
ALIASES = {"num_experts": "num_local_experts"}
MIXTRAL = Architecture("MixtralForCausalLM", "mixtral", requires, rows, config, model, DEFAULTS, aliases=ALIASES)
