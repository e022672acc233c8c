"""The formats that runs are exported to, and the files that every export has."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from palmetto.interop import ctranslate2, huggingface, llamacpp, logical
from palmetto.interop.forms import Array
from palmetto.interop.safetensors import TYPES
from palmetto.interop.source import Source
from palmetto.recipe import Recipe


class Target(NamedTuple):
    """Describes a format that runs are exported to."""

    write: Callable[[Source, Path, str], None]
    """(what is exported, the folder, the type of the weights): writes the files."""
    read: Callable[[Path, Recipe], dict[str, Array]] | None = None
    """(the folder, the recipe) → the logical matrices, float32 by name; None for a format that is not imported."""
    types: tuple[str, ...] = tuple(TYPES)
    """The types that weights may be written in."""


TARGETS: Mapping[str, Target] = {
    "huggingface": Target(huggingface.write, huggingface.read),
    "safetensors": Target(logical.write, logical.read),
    "gguf": Target(llamacpp.write),
    "ctranslate2": Target(ctranslate2.write, types=(*TYPES, "int8")),
}
RECIPE, VOCABULARY = "palmetto/recipe.yaml", "palmetto/vocabulary.model"
"""The files of every export from which `palmetto import` makes the run again."""
