"""`palmetto scaling`."""

from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Json, answer, path


def scaling(
    folders: Annotated[
        list[Path], typer.Argument(metavar="OUT...", parser=path, help="Evaluations of models of several sizes.")
    ],
    predict: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="A recipe whose scores are predicted before it is trained.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show scores that larger models reach and smaller ones do not point to, and predict scores through the loss."""
    from palmetto.host import environment
    from palmetto.recipe import loading

    target = None if predict is None else loading.load(predict)
    environment.prepare(1 if target is None else target.training.threads)
    from palmetto.ladder import tasks

    values = tasks.summarize([tasks.read(folder) for folder in folders], target)
    answer(values, tasks.describe(values), as_json)
