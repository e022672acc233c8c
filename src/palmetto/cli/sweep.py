"""`palmetto sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Json, RecipeName, SourceOption, answer, path, say


def sweep(
    recipe: RecipeName,
    axes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE,VALUE]...", help="The values to try of each key.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds for every choice, from 0.")] = 3,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="DIR", help="The sweep's directory; by default sweeps/RECIPE.")
    ] = None,
    source: SourceOption = None,
    as_json: Json = False,
) -> None:
    """Train every combination of choices and seeds, and compare them. Exit with 0 if all finished, with 1 if not."""
    from palmetto.sweeps import page, plan, runs

    done = runs.run(plan.plan(recipe, axes or [], seeds, source, out), say)
    answer(page.values(done), page.markdown(done), as_json)
    if done.failed:
        raise typer.Exit(1)
