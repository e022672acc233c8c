"""The report of a run: one HTML page that needs nothing else, for screens large and small and for paper."""

from importlib import resources

from palmetto.files import write_text
from palmetto.report import sections
from palmetto.report.colours import DARK, LIGHT
from palmetto.report.markup import escape
from palmetto.report.record import Record, read
from palmetto.run_directory import RunDirectory

# Were some text of the run to slip through unescaped, a browser would still load and execute nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# A fan palm's leaf.
_LEAF = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" '
    'aria-hidden="true"><path d="M12 22V13M12 13L3 14M12 13L4 8M12 13L8 3.5M12 13V2M12 13l4-9.5M12 13l8-5M12 13l9 1"/>'
    "</svg>"
)


def write(run: RunDirectory) -> None:
    """Writes report.html from whatever the run has by now; what it lacks is named in its place.

    The same files give the same bytes. UserError if a file that is there is damaged.
    """
    write_text(run.report, page(read(run), run.path.resolve().name))


def page(record: Record, directory: str) -> str:
    """The page. directory: the run directory's name, for the commands that it shows."""
    name = escape(record.recipe.name)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name} · Palmetto</title>
<style>
{_variables()}
{resources.files("palmetto.report").joinpath("page.css").read_text()}</style>
</head>
<body>
<header>
<div class="mark">{_LEAF}Palmetto training report</div>
{sections.heading(record)}
</header>
<main>
{sections.loss(record)}
{sections.training(record)}
<div class="columns">
{sections.events(record)}
{sections.validations(record)}
</div>
{sections.samples(record)}
<div class="columns">
{sections.recipe(record)}
<div>
{sections.machine(record)}
{sections.reproduction(record, directory)}
</div>
</div>
</main>
<footer>Made by <code>palmetto report</code> from the files of the run alone.</footer>
</body>
</html>
"""


def _variables() -> str:
    light, dark = (";".join(f"--{name}:{value}" for name, value in colours.items()) for colours in (LIGHT, DARK))
    return f":root{{color-scheme:light dark;{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
