"""Writes the page of `palmetto corpus quality report`: how well a classifier separates curated from other text."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palmetto.corpus.quality.evaluation import Evaluation, Side
from palmetto.files import write_text
from palmetto.report import markup, svg
from palmetto.report.canvas import STYLE, canvas, label_ends, set_ticks, write_png
from palmetto.report.colours import LIGHT
from palmetto.report.curves import Floats, thin
from palmetto.report.frame import frame

_BINS = 20
_EXAMPLES = 5
_LENGTH = 600
"""The number of characters shown of an example."""
_ALPHAS = (1.0, 3.0, 9.0)
_CURATED, _OTHER = LIGHT["train"], LIGHT["validation"]


def write(evaluation: Evaluation, alpha: float, folder: Path) -> None:
    """Writes quality.json, .html and .png into a folder; the same evaluation gives the same bytes.

    alpha: the parameter of the Pareto sampling that the page describes.
    """
    write_text(folder / "quality.json", json.dumps(values(evaluation), indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "quality.html", html(evaluation, alpha, folder.resolve().name))
    write_png(histogram(evaluation), folder / "quality.png")


def values(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the numbers of the page and the names of its examples as JSON values."""
    return {
        "area_under_roc": round(evaluation.area, 5),
        "average_precision": round(evaluation.average_precision, 5),
        "kept_by_alpha": {f"{alpha:g}": [round(part, 5) for part in evaluation.kept(alpha)] for alpha in _ALPHAS},
        **{
            name: {
                "texts": len(side.texts),
                "histogram": np.histogram(side.scores, _BINS, (0, 1))[0].tolist(),
                "lowest": _named(side, range(min(_EXAMPLES, len(side.texts)))),
                "highest": _named(side, range(len(side.texts) - 1, -1, -1)[:_EXAMPLES]),
            }
            for name, side in (("curated", evaluation.curated), ("other", evaluation.other))
        },
    }


def _named(side: Side, numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [{"name": side.texts[n].name, "score": round(float(side.scores[n]), 5)} for n in numbers]


def html(evaluation: Evaluation, alpha: float, name: str) -> str:
    """Returns the page as self-contained HTML."""
    curated, other = evaluation.kept(alpha)
    kept = ((f"{each:g}", *(f"{part:.1%}" for part in evaluation.kept(each))) for each in sorted({*_ALPHAS, alpha}))
    rows = (("", [markup.escape(cell) for cell in cells]) for cells in kept)
    verdict = (
        f"A held-out curated text scores higher than another held-out text in {evaluation.area:.1%} of all pairs. "
        f"Sampling with alpha = {alpha:g} keeps {other:.1%} of the other texts, and would keep {curated:.1%} of the "
        "curated ones."
    )
    roc = curve(evaluation.false_positive, evaluation.true_positive, "false positive rate", "true positive rate")
    precision = curve(evaluation.recall, evaluation.precision, "recall", "precision")
    figures = [
        svg.small(roc, "roc", "ROC", "True over false positive rate", f"area {evaluation.area:.4f}"),
        svg.small(
            precision,
            "precision",
            "Precision over recall",
            "Precision over recall",
            f"average {evaluation.average_precision:.4f}",
        ),
    ]
    return frame(
        title=name,
        mark="Palmetto quality classifier",
        heading=f'<h1>{markup.escape(name)}</h1>\n<p class="verdict">{markup.escape(verdict)}</p>',
        body=f"""<h2>Scores</h2>
{svg.wide_and_narrow(histogram(evaluation), histogram(evaluation, 380), "scores", "Histogram of scores, of both kinds")}
<h2>Curves over all thresholds</h2>
<div class="panels">{"".join(figures)}</div>
<h2>What sampling keeps</h2>
{markup.table([("alpha", "number"), ("of curated texts", "number"), ("of other texts", "number")], rows)}
<p class="note">A text is kept if a draw from the Pareto distribution of shape alpha exceeds 1 - score. All numbers are
from {len(evaluation.curated.texts):,} curated and {len(evaluation.other.texts):,} other held-out texts.</p>
{_examples("Other texts that score highest", evaluation.other, highest=True)}
{_examples("Other texts that score lowest", evaluation.other, highest=False)}
{_examples("Curated texts that score lowest", evaluation.curated, highest=False)}
{_examples("Curated texts that score highest", evaluation.curated, highest=True)}""",
        footer="Made by <code>palmetto corpus quality report</code>; the numbers are in <code>quality.json</code>.",
    )


def _examples(title: str, side: Side, *, highest: bool) -> str:
    numbers = range(len(side.texts))
    chosen = list(reversed(numbers) if highest else numbers)[:_EXAMPLES]
    shown = []
    for number in chosen:
        text = side.texts[number].text.strip()
        short = text if len(text) <= _LENGTH else f"{text[:_LENGTH]} …"
        heading = f"<h3>{side.scores[number]:.4f} · {markup.escape(side.texts[number].name)}</h3>"
        shown.append(f'<div class="sample">{heading}{markup.block(short)}</div>')
    return f"<h2>{markup.escape(title)}</h2>\n" + "\n".join(shown)


@STYLE
def histogram(evaluation: Evaluation, width: int = 1040) -> Figure:
    """Draws the share of texts by score, one line for each side. Lengths are CSS pixels."""
    height, top, bottom = 300, 30, 44
    drawn, axes = canvas(width, height, left=52, right=80, top=top, bottom=bottom)
    edges = np.linspace(0, 1, _BINS + 1)
    ends = []
    for name, side, colour in (("curated", evaluation.curated, _CURATED), ("other", evaluation.other, _OTHER)):
        share = np.histogram(side.scores, edges)[0] / len(side.scores)
        axes.stairs(share, edges, color=colour, linewidth=1.8)
        axes.stairs(share, edges, color=colour, alpha=0.15, fill=True)
        ends.append((float(share[-1]), name, colour))
    _share_axes(axes, "score", LIGHT["muted"])
    axes.set_ylim(0, None)
    label_ends(axes, height - top - bottom, ends)
    drawn.text(8 / width, 1 - 14 / height, "Share of texts", va="center", color=LIGHT["ink"])
    return drawn


@STYLE
def curve(x: Floats, y: Floats, x_name: str, y_name: str) -> Figure:
    """Draws a curve whose axes are shares. Lengths are CSS pixels."""
    drawn, axes = canvas(330, 260, left=48, right=14, top=28, bottom=44)
    order = np.argsort(x, kind="stable")
    axes.plot(*thin(x[order], y[order], 1 / 300), color=_CURATED, linewidth=1.8)
    _share_axes(axes, x_name, LIGHT["muted"])
    axes.set_ylim(0, 1.02)
    drawn.text(8 / 330, 1 - 13 / 260, y_name, va="center", color=LIGHT["muted"])
    return drawn


def _share_axes(axes: Axes, name: str, colour: str) -> None:
    """Sets the horizontal axis to shares from 0 to 1 and the ticks of both axes."""
    axes.set_xlim(0, 1)
    axes.set_xlabel(name, color=colour)
    set_ticks(axes.xaxis, 5, lambda value: f"{value:g}")
    set_ticks(axes.yaxis, 5, lambda value: f"{value:g}")
