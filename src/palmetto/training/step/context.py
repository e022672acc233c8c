"""What all parts of a step are compiled for: a recipe, a platform, a mesh and its level of ZeRO."""

from typing import NamedTuple

from palmetto.model.layout import Arranged, arrange
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Sharding
from palmetto.parallel.zero import Zero
from palmetto.recipe import Recipe


class Context(NamedTuple):
    """One value that is handed on from part to part, instead of its four."""

    recipe: Recipe
    tuning: Tuning
    sharding: Sharding
    zero: Zero

    def arrange(self, parameters: Parameters) -> Arranged:
        """Arranges parameters, or the partition of them that a device updates, for this model and platform."""
        return arrange(parameters, self.recipe.model, self.tuning, self.recipe.mesh)


def make_context(recipe: Recipe, tuning: Tuning, sharding: Sharding) -> Context:
    """Returns the context of a training step.

    Elastic leaves are whole on a CPU: its compiler rounds a leaf otherwise where collectives stand among its operations
    (docs/determinism.md). On accelerators nothing is promised that would be worth the memory of whole weights and
    gradients.
    """
    elastic, alone = recipe.training.reproducible == "elastic", sharding.sizes["stage"] == 1
    whole_leaves = elastic and alone and tuning.platform == "cpu"
    zero = Zero(sharding, recipe.model.activations, whole_leaves=whole_leaves)
    return Context(recipe, tuning, sharding, zero)
