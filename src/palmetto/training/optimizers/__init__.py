"""The optimizers of recipes, a file each; this table says which settings each belongs to."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from palmetto.model.weights import Table
from palmetto.parallel.sharding import Spread
from palmetto.recipe.optimizers import KINDS, Adafactor, AdamW, OptimizerSettings
from palmetto.training.optimizers.adafactor import AdafactorRule
from palmetto.training.optimizers.adamw import AdamWRule
from palmetto.training.optimizers.protocol import Moment, Optimizer, as_transformation, declared

_RULES: dict[type[OptimizerSettings], Callable[[Any], Optimizer]] = {Adafactor: AdafactorRule, AdamW: AdamWRule}


def register(settings: type[OptimizerSettings], rule: Callable[[Any], Optimizer]) -> None:
    """Makes an optimizer known to recipes, by the default of its settings' `name`, and to training."""
    KINDS.register(settings)
    _RULES[settings] = rule


def of(settings: OptimizerSettings) -> Optimizer:
    """Returns the optimizer of a recipe."""
    return _RULES[type(settings)](settings)


def make(
    settings: OptimizerSettings, table: Table, spreads: Mapping[str, Spread]
) -> optax.GradientTransformationExtraArgs:
    """Returns the optimizer of a recipe as a transformation over the parameters of a table."""
    return as_transformation(of(settings), table, spreads)


def state(settings: OptimizerSettings, table: Table) -> dict[str, dict[str, Moment]]:
    """Returns the declaration of what the optimizer of a recipe keeps: moment → parameter → shape and axes."""
    return declared(of(settings), table)
