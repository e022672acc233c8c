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

TARGET = "target"
"""The folder of a ladder in which its target may be trained."""


class Cost(NamedTuple):
    """Holds what the training of a recipe amounts to."""

    parameters: int
    """The active parameters."""
    tokens: int
    flops: float


class Rung(NamedTuple):
    """Holds a model to train."""

    size: float
    """The parameters that were asked for."""
    ratio: float
    """The tokens per parameter that were asked for."""
    member: Member
    cost: Cost


class Target(NamedTuple):
    """Holds a recipe whose loss is predicted."""

    member: Member
    """The run in which it may be trained, once it has been predicted."""
    cost: Cost


class Plan(NamedTuple):
    """Holds the plan of a ladder."""

    recipe: Recipe
    """The recipe of the family."""
    rungs: list[Rung]
    """The rungs by the FLOPs that they take, so that the cheapest are trained first."""
    target: Target | None
    out: Path


def plan(asked: Request) -> Plan:
    """Returns the plan of a ladder, with every recipe checked. JAX must have been prepared.

    Raises UserError at the first recipe that cannot be trained, if two sizes give the same model or two runs the same
    directory, or if a directory holds another run.
    """
    base, seen, names = asked.base, dict[int, float](), set[str]()
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
            if name in names:
                raise UserError(
                    f"--sizes, --tokens-per-parameter: two runs would be called {name}; expected numbers that are "
                    "further apart"
                )
            names.add(name)
            words, run = f"{compact(size)} parameters, {ratio:g} tokens each", RunDirectory(asked.out / name)
            rungs.append(Rung(size, ratio, Member(words, recipe, run), cost_of(recipe)))
    for rung in rungs:
        children.check(rung.member)
    target = None if asked.predict is None else _target(asked.predict, rungs, asked.out)
    return Plan(base, sorted(rungs, key=lambda rung: rung.cost.flops), target, asked.out)


def _target(recipe: Recipe, rungs: list[Rung], out: Path) -> Target:
    """Returns the target; raises UserError if it is a rung, so that its loss would be predicted from itself."""
    member = Member("target", recipe, RunDirectory(out / TARGET))
    for rung in rungs:
        other = rung.member.recipe
        if other.digest == recipe.digest and other.training.steps == recipe.training.steps:
            raise UserError(
                f"--predict {recipe.name}: the same run as {rung.member.run.path.name}, from which it would be "
                "predicted; expected another, or --sizes without this one"
            )
    children.check(member)
    return Target(member, cost_of(recipe))


def cost_of(recipe: Recipe) -> Cost:
    """Returns what the training of a recipe amounts to."""
    sequences = Ramp(recipe.training.batch_ramp).sequences_before(recipe.training.steps + 1)
    parameters = active(recipe.model, recipe.model_vocabulary)
    flops = flops_per_token(recipe) * sequences * recipe.model_length
    return Cost(parameters, sequences * recipe.tokens.sequence_length, flops)
