"""The context that all parts of a step are compiled for: a recipe, a platform, a mesh and its level of ZeRO."""

from typing import NamedTuple

from palmetto.model.layout import Arranged, arrange
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Sharding
from palmetto.parallel.zero import Zero
from palmetto.recipe import Recipe


class Context(NamedTuple):
    """Holds the four values that every part of a step needs, so that they are passed as one."""

    recipe: Recipe
    tuning: Tuning
    sharding: Sharding
    zero: Zero

    def arrange(self, parameters: Parameters) -> Arranged:
        """Returns parameters, or the partition that a device updates, in the layout of this model and platform."""
        return arrange(parameters, self.recipe.model, self.tuning, self.recipe.mesh)


def make_context(recipe: Recipe, tuning: Tuning, sharding: Sharding, *, validates: bool = False) -> Context:
    """Returns the context of a training step, or of a step that `validates` and sums no gradients.

    In elastic runs on a CPU without a pipeline, no collective is placed inside a leaf's computation, because the
    compiler would then round it differently (docs/determinism.md). On accelerators bits are not promised at the price
    of keeping whole weights and gradients in memory. Validation sums nothing over leaves, and may always gather.
    """
    elastic, alone = recipe.training.reproducible == "elastic", sharding.sizes["stage"] == 1
    whole_leaves = elastic and alone and tuning.platform == "cpu" and not validates
    zero = Zero(sharding, recipe.model.activations, whole_leaves=whole_leaves)
    return Context(recipe, tuning, sharding, zero)
