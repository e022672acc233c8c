"""A run as one typed, frozen, validated value."""

from palmetto.recipe.recipe import Recipe

__all__ = ["Recipe"]
