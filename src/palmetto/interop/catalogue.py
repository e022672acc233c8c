"""The classes that recipes are exported to: those of transformers, and ours where none of them is exact."""

from palmetto.errors import UserError
from palmetto.interop.architecture import Architecture
from palmetto.interop.architectures.bloom import BLOOM
from palmetto.interop.architectures.cohere import COHERE
from palmetto.interop.architectures.gpt2 import GPT2
from palmetto.interop.architectures.llama import LLAMA, MISTRAL, QWEN
from palmetto.interop.architectures.mixtral import MIXTRAL
from palmetto.interop.architectures.neox import NEOX
from palmetto.interop.architectures.palmetto import PALMETTO
from palmetto.recipe import Recipe

STOCK: tuple[Architecture, ...] = (COHERE, LLAMA, QWEN, MISTRAL, MIXTRAL, GPT2, NEOX, BLOOM)

REFUSED = {"GemmaForCausalLM": "its gate is a GELU by tanh, and its norms' epsilon 1e-6, which recipes lack"}
"""The reasons why classes that are near to recipes are not imported."""


def choose(recipe: Recipe) -> Architecture:
    """Returns the class that computes what the recipe's model does, one of transformers' own if there is one.

    Raises UserError if none does, with the reasons for which ours does not.
    """
    for architecture in STOCK:
        if not architecture.obstacles(recipe):
            return architecture
    if obstacles := PALMETTO.obstacles(recipe):
        raise UserError(
            f"{recipe.name}: no class computes this model: {', '.join(obstacles)}; --to safetensors takes every recipe"
        )
    return PALMETTO
