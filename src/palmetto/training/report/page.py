"""The report of a run: one HTML page."""

from pathlib import Path

from palmetto.files import write_text
from palmetto.report.frame import frame
from palmetto.runs.directory import RunDirectory
from palmetto.training.report import expert_sections, sections
from palmetto.training.report.record import Record, read


def write(run: RunDirectory, file: Path | None = None) -> None:
    """Writes report.html, or another file, from the present files of a run; the page names those that are missing.

    The same files give the same bytes. Raises UserError if a file is damaged.
    """
    write_text(file or run.report, page(read(run), run.path.resolve().name))


def page(record: Record, directory: str) -> str:
    """Returns the page. directory: the run directory's name, for the commands that the page shows."""
    body = f"""{sections.loss(record)}
{sections.training(record)}{expert_sections.routers(record)}
<div class="columns">
{sections.events(record)}
{sections.validations(record)}
</div>
{sections.evaluations(record)}
{sections.samples(record)}
<div class="columns">
{sections.recipe(record)}
<div>
{sections.machine(record)}
{sections.reproduction(record, directory)}
</div>
</div>"""
    footer = "Made by <code>palmetto report</code> from the files of the run alone."
    return frame(record.recipe.name, "Palmetto training report", sections.heading(record), body, footer)
