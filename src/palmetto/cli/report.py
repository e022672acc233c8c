"""`palmetto report`."""

from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Directory, Json, answer, path, say
from palmetto.cli.runs import existing


def report(
    directory: Directory,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path, metavar="DIR", help="The folder or FILE.html to write to; by default the run directory."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the run's report, one self-contained HTML page."""
    from palmetto.workflow import report as reports

    run = existing(directory)
    written = reports.write_report(run, say, out)
    answer({"report": str(written)}, str(written), as_json)
