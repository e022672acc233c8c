"""`palmetto ladder`."""

from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Json, Overrides, RecipeName, SourceOption, answer, path, say


def ladder(
    recipe: RecipeName,
    sizes: Annotated[str, typer.Option(metavar="N,…", help="Parameters of the models, as in 200k,1M.")],
    overrides: Overrides = None,
    tokens_per_parameter: Annotated[
        str, typer.Option(metavar="R,…", help="Tokens per parameter: each size is trained on each.")
    ] = "20",
    predict: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="A recipe whose loss is predicted before it is trained.")
    ] = None,
    source: SourceOption = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="DIR", help="The ladder's directory; by default ladders/RECIPE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train small models of a recipe's family, fit how the loss falls with size and tokens, and predict a larger one.
    Exit with 0 if all finished, with 1 if not."""
    from palmetto.ladder import request, runs

    asked = request.read(recipe, overrides or [], sizes, tokens_per_parameter, predict, source, out)
    done = runs.run(asked, say)
    from palmetto.ladder import page

    say(f"report: {asked.out / 'ladder.html'}")
    answer(page.values(done), page.markdown(done), as_json)
    if any(result.outcome.status != "done" for result in done.results):
        raise typer.Exit(1)
