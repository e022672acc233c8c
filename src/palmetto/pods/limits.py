"""The conditions under which a recipe can be trained by pods.

Pods are replicas of a model, each a JAX cluster of its own, that train on one batch together. Training survives the
loss of a pod.
"""

from palmetto.errors import UserError
from palmetto.recipe import Recipe

PATIENCE = 20.0
"""Seconds without a sign of life after which a pod counts as lost."""


def check(recipe: Recipe) -> None:
    """Raises UserError if a recipe cannot be trained by pods."""
    if recipe.mesh.pod == 1:
        raise UserError("--pods: mesh.pod=1 is a single one; mesh.pod=2 would do")
    if recipe.training.reproducible != "elastic":
        raise UserError(
            "--pods: training.reproducible=fixed ties bits to one layout, and the loss of a pod changes the layout; "
            "elastic would do"
        )
