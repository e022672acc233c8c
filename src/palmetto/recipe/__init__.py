"""The recipe of a run: one typed, frozen, validated value."""

from palmetto.recipe.recipe import Recipe

__all__ = ["Recipe"]
