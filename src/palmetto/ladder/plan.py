"""Plans a ladder: models of one family over sizes and numbers of tokens, each an ordinary run."""

from pathlib import Path
from typing import NamedTuple

from palmetto.errors import UserError
from palmetto.ladder.request import Request
from palmetto.ladder.sizes import of_size, of_tokens
from palmetto.model.weights import active
from palmetto.recipe import Recipe
from palmetto.report.curves import compact
from palmetto.runs.directory import RunDirectory
from palmetto.sweeps import children
from palmetto.sweeps.children import Member
from palmetto.tokens.order import Ramp
from palmetto.training.flops import flops_per_token


class Cost(NamedTuple):
    """Holds what the training of a recipe amounts to."""

    parameters: int
    """The active parameters."""
    tokens: int
    flops: float


class Rung(NamedTuple):
    """A model to train."""

    size: float
    """The parameters that were asked for."""
    ratio: float
    """The tokens per parameter that were asked for."""
    member: Member
    cost: Cost


class Target(NamedTuple):
    """A recipe whose loss is predicted."""

    recipe: Recipe
    cost: Cost

    def is_rung(self, rung: Rung) -> bool:
        """Returns whether a rung is the target itself, which then is no part of the fit."""
        recipe = rung.member.recipe
        return recipe.digest == self.recipe.digest and recipe.training.steps == self.recipe.training.steps


class Plan(NamedTuple):
    """The plan of a ladder."""

    recipe: Recipe
    """The recipe of the family."""
    rungs: list[Rung]
    """The rungs by the FLOPs that they take, so that the cheapest are trained first."""
    target: Target | None
    out: Path


def plan(asked: Request) -> Plan:
    """Returns the plan of a ladder, with every recipe checked. JAX must have been prepared.

    Raises UserError at the first recipe that cannot be trained, if two sizes give the same model, or if a directory
    holds another run.
    """
    base, seen = asked.base, dict[int, float]()
    rungs: list[Rung] = []
    for size in asked.sizes:
        model = of_size(base, size)
        parameters = active(model.model, model.model_vocabulary)
        if (twin := seen.setdefault(parameters, size)) != size:
            raise UserError(
                f"--sizes {compact(size)}: the same model as {compact(twin)}, with {parameters:,} parameters; expected "
                "sizes that are further apart"
            )
        for ratio in asked.ratios:
            name = f"{compact(size)}-{ratio:g}"
            recipe = of_tokens(model, ratio * parameters).model_copy(update={"name": f"{base.name}-{name}"})
            words, run = f"{compact(size)} parameters, {ratio:g} tokens each", RunDirectory(asked.out / name)
            rungs.append(Rung(size, ratio, Member(words, recipe, run), cost_of(recipe)))
    for rung in rungs:
        children.check(rung.member)
    target = None if asked.predict is None else Target(asked.predict, cost_of(asked.predict))
    return Plan(base, sorted(rungs, key=lambda rung: rung.cost.flops), target, asked.out)


def cost_of(recipe: Recipe) -> Cost:
    """Returns what the training of a recipe amounts to."""
    sequences = Ramp(recipe.training.batch_ramp).sequences_before(recipe.training.steps + 1)
    parameters = active(recipe.model, recipe.model_vocabulary)
    flops = flops_per_token(recipe) * sequences * recipe.model_length
    return Cost(parameters, sequences * recipe.tokens.sequence_length, flops)
