"""`palmetto verify`."""

from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Directory, Json, answer, say
from palmetto.cli.runs import existing
from palmetto.errors import UserError


def verify(
    directory: Directory,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="mesh.AXIS=SIZE", help="Another mesh to replay the run on.")
    ] = None,
    start: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="STEP",
            help="Replay from the checkpoint at or before this step; an evaluation from this line of its ledger.",
        ),
    ] = None,
    end: Annotated[
        int | None, typer.Option("--to", metavar="STEP", help="Replay up to this step, or this line of an evaluation.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay a run, or samples of an evaluation, and compare them bit for bit with the ledger. Exit with 0 if it
    matches, with 1 if not."""
    from palmetto.evaluation.settings import SETTINGS

    if (directory / SETTINGS).is_file():
        if overrides:
            raise UserError(f"{overrides[0]}: an evaluation is replayed on the devices that it ran on; leave it out")
        _verify_evaluation(directory, start, end, as_json)
        return
    from palmetto.recipe import loading
    from palmetto.workflow import entering, verification

    run = existing(directory)
    replayed, difference = verification.verify(run, start, end, say, overrides or ())
    if difference is None:
        answer({"verified": True, "steps": replayed}, f"verified: {replayed} steps, bit for bit", as_json)
        return
    recipe = loading.load(str(run.recipe_file), overrides or ())
    elsewhere = entering.elsewhere(run, recipe) if difference.is_of_bits else []
    text = f"{difference}; but this is another environment than the run's: {'; '.join(elsewhere)}" if elsewhere else ""
    answer({"verified": False, **difference._asdict(), "environment": elsewhere}, text or str(difference), as_json)
    raise typer.Exit(1)


def _verify_evaluation(out: Path, first: int | None, last: int | None, as_json: bool) -> None:
    from palmetto.workflow import evaluation

    replayed, difference = evaluation.verify_tasks(out, say, first, last)
    values = {"verified": not difference, "requests": replayed, "difference": difference or None}
    answer(values, difference or f"verified: {replayed} requests, bit for bit", as_json)
    if difference:
        raise typer.Exit(1)
