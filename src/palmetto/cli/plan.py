"""`palmetto plan`."""

from typing import Annotated

import typer

from palmetto.cli.common import Json, Overrides, RecipeName, answer, say
from palmetto.errors import RunStopped, UserError


def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    topology: Annotated[
        str | None, typer.Option(help="The chips to compile for, such as v4:12x16x16, v6e:16x16 or h100:64.")
    ] = None,
    slices: Annotated[int, typer.Option(help="Number of slices (pods) of these chips.")] = 1,
    search: Annotated[bool, typer.Option("--search", help="Try many meshes, and show the best few.")] = False,
    as_json: Json = False,
) -> None:
    """Show a recipe's parameters, FLOPs, memory, tokens, schedule and energy. With --topology, compile its step for
    chips that this machine need not have, and predict its time and memory."""
    from palmetto.host import environment
    from palmetto.recipe import loading

    resolved = loading.load(recipe, overrides or ())
    environment.prepare(resolved.training.threads)
    if topology is None:
        if slices != 1 or search:
            raise UserError(f"{'--search' if search else f'--slices {slices}'}: needs --topology")
        from palmetto.planning import energy
        from palmetto.planning import summary as planning

        values = planning.plan(resolved)
        values["energy"] = energy.here(resolved, values["flops"])
        answer(values, planning.describe(values), as_json)
        return
    from palmetto.planning import at_scale, describe
    from palmetto.planning.network import topology as topologies

    on = topologies.parse(topology, slices)
    if search:
        values = at_scale.search(resolved, on, say)
        answer(values, describe.describe_search(values), as_json)
        return
    values = at_scale.plan(resolved, on, say)
    answer(values, describe.describe(values), as_json)
    if not values["fits"]:
        raise RunStopped(describe.misfit(values))
