"""The report of a run."""

from pathlib import Path

from palmetto.runs.directory import RunDirectory
from palmetto.workflow.progress import Say


def write_report(run: RunDirectory, say: Say, out: Path | None = None) -> Path:
    """Writes report.html, anew each time: it is quick. Returns where it is.

    `out` is where else, for a run that cannot be written in: a file that ends in .html, or a folder.
    """
    from palmetto.training.report.page import write

    file = run.report if out is None else out if out.suffix == ".html" else out / run.report.name
    write(run, file)
    say(f"report: {file}")
    return file
