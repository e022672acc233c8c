"""`palmetto corpus`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from palmetto.cli.common import Json, Overrides, RecipeName, answer, say

app = typer.Typer(help="Build a training mixture from raw files.", no_args_is_help=True)


@app.command()
def build(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The corpus's directory; by default corpora/RECIPE.")] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where it runs: this machine, or a cluster.")
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, on this machine a core each.")] = None,
    as_json: Json = False,
) -> None:
    """Sources to clean, weighted documents with a datasheet; each stage skipped when it is done already."""
    from palmetto import corpora, recipes

    resolved = recipes.load(recipe, overrides or ())
    directory = out or Path("corpora") / resolved.name
    manifest = corpora.build(resolved, directory, say, engine, workers)
    answer(manifest, corpora.describe(manifest), as_json)
