"""Converts figures to inline SVG without external references, in the page's own fonts and colours."""

import io
import re

import matplotlib.style
from matplotlib.figure import Figure

from palmetto.report.colours import LIGHT
from palmetto.report.markup import escape


def inline(figure: Figure, name: str) -> str:
    """Returns the <svg> element of a figure; the same figure gives the same bytes. name: makes its ids unique."""
    file = io.StringIO()
    style = {"svg.hashsalt": name, "svg.fonttype": "none"}
    with matplotlib.style.context(style, after_reset=True):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', svg, count=1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace("xlink:href", "href")
    svg = re.sub(r" font-family: [^;]*;| transform=\"rotate\(-0 [^\"]*\"|<g/>|<defs>\s*</defs>", "", svg)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"\d+\.\d{2,}", lambda n: f"{float(n[0]):.1f}", path[0]), svg)
    colours = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda colour: colours.get(colour[0], colour[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def wide_and_narrow(wide: Figure, narrow: Figure, name: str, label: str) -> str:
    """Returns a figure drawn twice, for wide and for narrow screens. label: a description for screen readers."""
    return (
        f'<figure role="img" aria-label="{escape(label)}"><div class="wide">{inline(wide, name)}</div>'
        f'<div class="narrow">{inline(narrow, f"{name}-narrow")}</div></figure>'
    )


def small(figure: Figure, name: str, title: str, label: str, value: str) -> str:
    """Returns a small figure under its title and a value."""
    return (
        f'<figure role="img" aria-label="{escape(label)}"><figcaption><h3>{escape(title)}</h3>'
        f"<output>{escape(value)}</output></figcaption>{inline(figure, name)}</figure>"
    )
