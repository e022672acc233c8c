"""Makes a recipe smaller or larger: another model of its family, trained on another number of tokens.

The rule: a head keeps its size, and the width is that of whole heads, in the recipe's ratio. The feed-forward keeps its
ratio to the width, and key/value heads theirs to the heads. Of all depths and widths, those are taken for which the
parameters are nearest to the number that is asked for, and the ratio of width to depth nearest to the recipe's; both
are measured by their logarithms, with the same weight. The batch stays; the steps of ramp and schedule keep their place
in the run.
"""

import math
from collections.abc import Iterator
from typing import Any

from palmetto.errors import UserError
from palmetto.model.weights import active
from palmetto.recipe import Recipe, loading
from palmetto.recipe.model import Model
from palmetto.tokens.order import Ramp

_FARTHEST = math.log(1.5)
"""The largest distance of a size from the one that is asked for, as the logarithm of a factor."""
_LARGEST = 1000
"""The most parameters of a model, as a multiple of its recipe's. Each size takes time in proportion to them."""
_OF_STEPS = ("warmup", "hold", "decay_steps")
"""The keys of schedules that count steps."""


def of_size(recipe: Recipe, parameters: float) -> Recipe:
    """Returns the recipe with a model of about `parameters` active parameters.

    Raises UserError if the family has no model near this size.
    """
    own = active(recipe.model, recipe.model_vocabulary)
    if parameters > _LARGEST * own:
        raise UserError(
            f"--sizes {parameters:.0f}: {recipe.name} has {own:,} parameters; expected at most {_LARGEST} times as many"
        )
    nearest, best = math.inf, _member(recipe.model, 1, 1)
    for shape, has in _family(recipe, parameters):
        off = math.log(has / parameters)
        ratio = math.log(shape["d_model"] * recipe.model.layers / (shape["layers"] * recipe.model.d_model))
        if abs(off) <= _FARTHEST and off**2 + ratio**2 < nearest:
            nearest, best = off**2 + ratio**2, shape
    chosen = loading.validate(_changed(recipe, model=best))
    if nearest == math.inf:
        raise UserError(
            f"--sizes {parameters:.0f}: {recipe.name} has no model near this size; its smallest, of one period of "
            f"layers and one group of heads, has {active(chosen.model, recipe.model_vocabulary):,} parameters"
        )
    return chosen


def of_tokens(recipe: Recipe, tokens: float) -> Recipe:
    """Returns the recipe with as many steps as take about `tokens` tokens; all that counts steps is scaled alike."""
    training = recipe.training
    before = Ramp(training.batch_ramp).sequences_before(training.steps + 1) * recipe.tokens.sequence_length
    factor = tokens / before
    schedule = {
        key: max(1, round(factor * value)) if key in _OF_STEPS and value else value
        for key, value in training.schedule.model_dump().items()
    }
    starts = list[int]()
    for start, _ in training.batch_ramp:  # a short run has each size for a step at least
        starts.append(max(round(factor * start), starts[-1] + 1 if starts else 0))
    changes = {
        "steps": max(1, round(factor * training.steps)),
        "batch_size": {start: size for start, (_, size) in zip(starts, training.batch_ramp, strict=True)},
        "schedule": schedule,
    }
    return loading.validate(_changed(recipe, training=changes))


def _family(recipe: Recipe, parameters: float) -> Iterator[tuple[dict[str, Any], int]]:
    """Yields the shapes of models and their active parameters, from the narrowest width on.

    With each period of layers as many parameters are added, so that two models of a width tell the rest.
    """
    model, groups = recipe.model, 0
    while True:
        groups += 1
        one, two = (_count(recipe, _member(model, groups, periods)) for periods in (1, 2))
        most = (parameters * math.exp(_FARTHEST) - one) // (two - one)
        if most < 0:
            return
        for periods in range(1, int(most) + 2):
            yield _member(model, groups, periods), one + (periods - 1) * (two - one)


def _count(recipe: Recipe, shape: dict[str, Any]) -> int:
    return active(loading.validate(_changed(recipe, model=shape)).model, recipe.model_vocabulary)


def _member(model: Model, groups: int, periods: int) -> dict[str, Any]:
    """Returns the sizes of a model of the family: its groups of heads, and the periods in which its layers repeat.

    The heads that share keys and values are a group; in multi-query attention each head counts as one.
    """
    shared = model.heads // model.key_value_heads if model.key_value_heads > 1 else 1
    heads = groups * shared
    width = round(heads * model.d_model / model.heads)
    sizes: dict[str, Any] = {
        "layers": periods * model.period,
        "heads": heads,
        "key_value_heads": groups if model.key_value_heads > 1 else 1,
        "d_model": width,
        "d_ff": round(width * model.feedforward_size / model.d_model),
    }
    if model.experts and model.experts.d_ff is not None:
        sizes["experts"] = {"d_ff": round(width * model.experts.d_ff / model.d_model)}
    return sizes


def _changed(recipe: Recipe, **changes: dict[str, Any]) -> dict[str, Any]:
    """Returns a recipe's values with changes of its sections; a value that is itself a section is changed in part."""
    values = recipe.model_dump()
    for section, changed in changes.items():
        for key, value in changed.items():
            old = values[section][key]
            is_part = isinstance(value, dict) and isinstance(old, dict) and key != "batch_size"
            values[section][key] = old | value if is_part else value
    return values
