"""Writing the report of a run."""

from pathlib import Path

from palmetto.runs.directory import RunDirectory
from palmetto.workflow.progress import Say


def write_report(run: RunDirectory, say: Say, out: Path | None = None) -> Path:
    """Writes report.html, replacing any earlier one, and returns its path.

    `out`, a file that ends in .html or a folder, is an alternative place, as for a run directory that is read-only.
    """
    from palmetto.training.report.page import write

    file = run.report if out is None else out if out.suffix == ".html" else out / run.report.name
    write(run, file)
    say(f"report: {file}")
    return file
