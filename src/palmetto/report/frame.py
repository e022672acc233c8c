"""The frame of every page: one self-contained HTML file for large and small screens and for paper."""

from importlib import resources

from palmetto.report.colours import DARK, LIGHT
from palmetto.report.markup import escape

# Even if some text of the run were not escaped, a browser would load and execute nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# A fan palm's leaf.
_LEAF = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" '
    'aria-hidden="true"><path d="M12 22V13M12 13L3 14M12 13L4 8M12 13L8 3.5M12 13V2M12 13l4-9.5M12 13l8-5M12 13l9 1"/>'
    "</svg>"
)


def frame(title: str, mark: str, heading: str, body: str, footer: str) -> str:
    """Returns a whole page. title: plain text. mark: the kind of page, as HTML, like the other arguments."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} · Palmetto</title>
<style>
{variables()}
{resources.files("palmetto.report").joinpath("page.css").read_text()}</style>
</head>
<body>
<header>
<div class="mark">{_LEAF}{mark}</div>
{heading}
</header>
<main>
{body}
</main>
<footer>{footer}</footer>
</body>
</html>
"""


def variables() -> str:
    """Returns the colours as CSS variables, for light and for dark paper."""
    light, dark = (";".join(f"--{name}:{value}" for name, value in colours.items()) for colours in (LIGHT, DARK))
    return f":root{{color-scheme:light dark;{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
