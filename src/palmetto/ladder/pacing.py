"""Measures how long the rungs of a ladder will take on this machine, before any of them is trained."""

from collections.abc import Sequence

import jax

from palmetto.ladder.plan import Plan, Rung
from palmetto.sweeps import children
from palmetto.sweeps.children import Say, Variables
from palmetto.tokens import vocabularies
from palmetto.training import pace
from palmetto.training.pace import Pace
from palmetto.training.step.execution import Execution
from palmetto.workflow.tokens import build_tokens


def measure(planned: Plan, child: Variables, say: Say) -> list[float]:
    """Returns the hours of each rung, 0 for a finished one.

    The tokens of all rungs are built, and the steps of each size timed; what is compiled for that, the children need
    not compile again. Raises UserError if the text is too short for a rung.
    """
    jax.config.update("jax_compilation_cache_dir", child["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    waiting = [rung for rung in planned.rungs if not rung.member.finished]
    members = [rung.member for rung in planned.rungs]
    for rung in waiting:
        with rung.member.run.locked():
            children.borrow(rung.member, members)
            build_tokens(rung.member.run, rung.member.recipe, say)
    paces = {size: _pace(size, waiting) for size in dict.fromkeys(rung.size for rung in waiting)}
    hours = [0.0 if rung.member.finished else _hours(rung, paces[rung.size]) for rung in planned.rungs]
    for rung, needed in zip(planned.rungs, hours, strict=True):
        say(f"{rung.member.name}: {'finished' if rung.member.finished else duration(needed)}")
    if waiting:
        say(f"{len(waiting)} runs will take {duration(sum(hours))} on this machine")
    return hours


def duration(hours: float) -> str:
    """Returns a time in hours, or in minutes if it is less than two hours."""
    return f"about {hours:.1f} h" if hours >= 2 else f"about {60 * hours:.1f} min"


def _pace(size: float, rungs: Sequence[Rung]) -> Pace:
    run, recipe = next((rung.member.run, rung.member.recipe) for rung in rungs if rung.size == size)
    return pace.measure(Execution(recipe, run.train_store, vocabularies.load(run.vocabulary)), run)


def _hours(rung: Rung, found: Pace) -> float:
    """Returns the hours of a rung by the time of a step with the largest batch, from its first step on."""
    recipe = rung.member.recipe
    largest = max(size for _, size in recipe.training.batch_ramp) * recipe.tokens.sequence_length
    return (found.start + found.step * rung.cost.tokens / largest) / 3600
