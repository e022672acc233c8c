"""Pods: copies of a model, each a JAX cluster of its own, that train on one batch and outlive each other."""

from palmetto.errors import UserError
from palmetto.recipe import Recipe

PATIENCE = 20.0
"""Seconds without a sign of life after which a pod is lost."""


def check(recipe: Recipe) -> None:
    """UserError where a recipe cannot be trained by pods."""
    if recipe.mesh.pod == 1:
        raise UserError("--pods: mesh.pod=1 is a single one; mesh.pod=2 would do")
    if recipe.training.reproducible != "elastic":
        raise UserError("--pods: training.reproducible=fixed ties bits to one layout, which the loss of a pod changes; "
                        "elastic would do")  # fmt: skip
