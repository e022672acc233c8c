"""`palmetto drill`."""

from typing import Annotated

import typer

from palmetto.cli.common import Json, answer, say
from palmetto.errors import RunStopped


def drill(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="DRILL", help="One of nan, spike, kill, pod-loss, torn-checkpoint, full-disk and ledger-tamper."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Inject a fault into a small training and judge whether the promise about it holds. Exit with 0 if it holds, with
    1 if it is broken, with 3 if the machine is too busy to tell."""
    from palmetto.drills import running

    report = running.run(name, say if as_json else lambda text: answer(None, text, as_json=False))
    if as_json:
        answer(report.values(), "", as_json)
    if report.broken:
        raise RunStopped(f"drill {name}: {report.broken}")
    if report.undecided:
        say(f"drill {name}: no verdict: {report.undecided}")
        raise typer.Exit(3)
