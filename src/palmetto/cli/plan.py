"""`palmetto plan`."""

from typing import Annotated

import typer

from palmetto.cli.common import Json, Overrides, RecipeName, WeightsOption, answer, say
from palmetto.errors import RunStopped, UserError


def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    topology: Annotated[
        str | None, typer.Option(help="The chips to compile for, such as v4:12x16x16, v6e:16x16 or h100:64.")
    ] = None,
    slices: Annotated[int, typer.Option(help="Number of slices (pods) of these chips.")] = 1,
    decode: Annotated[
        str | None, typer.Option(metavar="BATCH:CONTEXT", help="Plan a step of decoding: a token of each sequence.")
    ] = None,
    prefill: Annotated[str | None, typer.Option(metavar="BATCH:LENGTH", help="Plan the prefill of prompts.")] = None,
    weights: WeightsOption = None,
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="How chips divide decoding or prefill, such as ws2d-batch.")
    ] = None,
    search: Annotated[bool, typer.Option("--search", help="Try many meshes, and show the best few.")] = False,
    as_json: Json = False,
) -> None:
    """Show a recipe's parameters, FLOPs, memory, tokens, schedule and energy. With --topology, compile its step for
    chips that this machine need not have, and predict its time and memory; with --decode or --prefill that of a served
    model."""
    from palmetto.host import environment
    from palmetto.planning.inference import phases
    from palmetto.recipe import loading

    phase = phases.chosen(decode, prefill)
    if phase is None and (weights is not None or layout is not None):
        raise UserError(f"{'--layout' if weights is None else '--weights'}: needs --decode or --prefill")
    if phase is not None and search:
        raise UserError(f"--search: looks for meshes of training; --{phase.name} has a --layout instead")
    resolved = loading.load(recipe, overrides or ())
    environment.prepare(resolved.training.threads)
    if topology is None:
        given = {f"--slices {slices}": slices != 1, "--search": search, f"--{phase and phase.name}": phase is not None}
        for option in filter(given.get, given):
            raise UserError(f"{option}: needs --topology")
        from palmetto.planning import energy
        from palmetto.planning import summary as planning

        values = planning.plan(resolved)
        values["energy"] = energy.here(resolved, values["flops"])
        answer(values, planning.describe(values), as_json)
        return
    from palmetto.planning import at_scale, describe
    from palmetto.planning.inference import at_scale as inference
    from palmetto.planning.inference.describe import describe as describe_inference
    from palmetto.planning.network import topology as topologies

    on = topologies.parse(topology, slices)
    if search:
        values = at_scale.search(resolved, on, say)
        answer(values, describe.describe_search(values), as_json)
        return
    if phase is None:
        values = at_scale.plan(resolved, on, say)
        answer(values, describe.describe(values), as_json)
    else:
        values = inference.plan(resolved, on, phase, weights, layout, say)
        answer(values, describe_inference(values), as_json)
    if not values["fits"]:
        raise RunStopped(describe.misfit(values))
