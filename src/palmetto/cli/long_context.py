"""`palmetto long-context`."""

from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Directory, Json, answer, path, say
from palmetto.cli.runs import existing


def long_context(
    directory: Directory,
    times: Annotated[int, typer.Option(min=2, help="The length to evaluate, in multiples of the trained length.")] = 4,
    sequences: Annotated[int, typer.Option(min=1, help="The most sequences of held-out text to evaluate.")] = 64,
    text: Annotated[
        Path | None, typer.Option(parser=path, metavar="FILE", help="Held-out text; by default that of the run.")
    ] = None,
    tuned: Annotated[
        list[Path] | None,
        typer.Option(parser=path, metavar="DIR", help="A run that was trained further, measured too; repeatable."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="DIR", help="The folder to write to; by default the run directory."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure perplexity by position beyond the trained length, with each change of attention that fits the model."""
    from palmetto.workflow import evaluation

    run = existing(directory)
    curves = evaluation.long_context(run, times, sequences, say, text, tuned or [])
    from palmetto.evaluation import long_context_page as page

    trained, folder = run.recipe.model_length, out or run.path
    page.write(curves, trained, folder, run.path.resolve().name)
    say(f"perplexity by position, also in {folder / 'long-context.html'}:")
    answer(page.values(curves, trained), page.table(curves, trained), as_json)
