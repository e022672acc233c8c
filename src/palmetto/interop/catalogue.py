"""The classes of transformers that recipes are exported to, in the order in which they are tried."""

from palmetto.errors import UserError
from palmetto.interop.architecture import Architecture
from palmetto.interop.architectures.bloom import BLOOM
from palmetto.interop.architectures.cohere import COHERE
from palmetto.interop.architectures.gpt2 import GPT2
from palmetto.interop.architectures.llama import LLAMA, MISTRAL, QWEN
from palmetto.interop.architectures.mixtral import MIXTRAL
from palmetto.recipe import Recipe

ARCHITECTURES: tuple[Architecture, ...] = (COHERE, LLAMA, QWEN, MISTRAL, MIXTRAL, GPT2, BLOOM)


def choose(recipe: Recipe) -> Architecture:
    """Returns the class that computes what the recipe's model does.

    Raises UserError if none does, with the reasons for which the nearest one does not.
    """
    obstacles = {architecture: architecture.obstacles(recipe) for architecture in ARCHITECTURES}
    nearest = min(obstacles, key=lambda architecture: len(obstacles[architecture]))
    if obstacles[nearest]:
        raise UserError(
            f"{recipe.name}: no class of transformers computes this model; the nearest is {nearest.name}, but for "
            f"{', '.join(obstacles[nearest])}. --to safetensors takes every recipe"
        )
    return nearest
