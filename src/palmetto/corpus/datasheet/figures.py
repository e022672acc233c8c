"""Draws the figures of a datasheet. Lengths are CSS pixels."""

import math
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from palmetto.corpus.datasheet.sheet import Sheet
from palmetto.report.canvas import NARROW, STYLE, canvas, plain
from palmetto.report.colours import LIGHT, of_choice
from palmetto.report.curves import compact

Entry = tuple[str, str, str]
"""An entry of a legend: the sign, its meaning and its colour."""

_ROW, _LINE = 26, 22
_LETTER = 7.2
"""The usual width of a letter."""
_MARK: Entry = ("|", "share that the weights ask for", LIGHT["ink"])
MOST_LANGUAGES = 24


@STYLE
def shares(sheet: Sheet, width: int) -> Figure:
    """Draws a bar for each source's share of the tokens, and a mark at the share that the weights ask for."""
    figure, axes = _rows(width, sheet.sources, [_MARK])
    _draw_shares(axes, sheet)
    _legend(figure, [_MARK], width)
    return figure


@STYLE
def flow(sheet: Sheet, width: int) -> Figure:
    """Draws a bar for each stage: the bytes left after it, by source."""
    figure, axes = _rows(width, [name for name, _ in sheet.flow], _sources(sheet))
    _draw_flow(axes, sheet)
    _legend(figure, _sources(sheet), width)
    return figure


@STYLE
def languages(sheet: Sheet, width: int) -> Figure:
    """Draws a bar for each language: its tokens, by source."""
    figure, axes = _rows(width, list(sheet.languages)[:MOST_LANGUAGES], _sources(sheet))
    _draw_languages(axes, sheet)
    _legend(figure, _sources(sheet), width)
    return figure


@STYLE
def whole(sheet: Sheet, width: int = 1040) -> Figure:
    """Draws all three figures as one picture."""
    counts = [len(sheet.sources), len(sheet.flow), min(len(sheet.languages), MOST_LANGUAGES)]
    heights = [_ROW * count for count in counts]
    entries = [*_sources(sheet), _MARK]
    above = _LINE * (_lines(entries, width) - 1)
    height = sum(heights) + 3 * 66 + 40 + above
    figure = Figure(figsize=(width / 72, height / 72), facecolor=LIGHT["paper"])
    most = f", the {MOST_LANGUAGES} with most" if len(sheet.languages) > MOST_LANGUAGES else ""
    titles = ("Share of tokens", "Bytes left after each stage", f"Tokens by language{most}")
    left = _margin(width, [*sheet.sources, *(name for name, _ in sheet.flow)])
    top = height - 40 - above
    for draw, rows, title in zip((_draw_shares, _draw_flow, _draw_languages), heights, titles, strict=True):
        figure.text(8 / width, top / height, title, color=LIGHT["ink"], parse_math=False)
        frame = (left / width, (top - 10 - rows) / height, 1 - (left + 80) / width, rows / height)
        axes = figure.add_axes(frame, facecolor="none")
        plain(axes, grid="x")
        draw(axes, sheet)
        top -= rows + 66
    _legend(figure, entries, width)
    return figure


def _sources(sheet: Sheet) -> list[Entry]:
    return [("■", source, of_choice(number)) for number, source in enumerate(sheet.sources)]


def _margin(width: int, names: list[str]) -> int:
    """Returns the width for names on the left: enough for the longest, at most half of the figure."""
    usual = 110 if width < NARROW else 170
    return min(max(usual, 16 + math.ceil(_LETTER * max(map(len, names), default=0))), width // 2)


def _rows(width: int, names: list[str], entries: list[Entry]) -> tuple[Figure, Axes]:
    above = 12 + _LINE * _lines(entries, width)
    height = _ROW * len(names) + 30 + above
    figure, axes = canvas(width, height, left=_margin(width, names), right=70, top=above, bottom=24)
    plain(axes, grid="x")
    return figure, axes


def _draw_shares(axes: Axes, sheet: Sheet) -> None:
    taken, wanted = ([of(source) for source in sheet.sources] for of in (sheet.share, sheet.wanted))
    for row, source in enumerate(sheet.sources):
        axes.barh(row, taken[row], height=0.7, color=of_choice(row))
        axes.plot([wanted[row]] * 2, [row - 0.45, row + 0.45], color=LIGHT["ink"], linewidth=1.6)
        _value(axes, row, max(taken[row], wanted[row]), f"{taken[row]:.1%}")
        assert source == sheet.sources[row]
    _finish(axes, sheet.sources, max(*taken, *wanted), lambda value: f"{value:.0%}")


def _draw_flow(axes: Axes, sheet: Sheet) -> None:
    for row, (_, sizes) in enumerate(sheet.flow):
        _stack(axes, row, sizes, sheet)
        _value(axes, row, sum(sizes.values()), compact(sum(sizes.values())))
    _finish(axes, [name for name, _ in sheet.flow], sum(sheet.flow[0][1].values()), compact)


def _draw_languages(axes: Axes, sheet: Sheet) -> None:
    shown = list(sheet.languages.items())[:MOST_LANGUAGES]
    for row, (_, tokens) in enumerate(shown):
        _stack(axes, row, tokens, sheet)
        _value(axes, row, sum(tokens.values()), compact(sum(tokens.values())))
    most = max((sum(tokens.values()) for _, tokens in shown), default=1)
    _finish(axes, [language or "not known" for language, _ in shown], most, compact)


def _stack(axes: Axes, row: int, sizes: dict[str, int], sheet: Sheet) -> None:
    left = 0
    for number, source in enumerate(sheet.sources):
        size = sizes.get(source, 0)
        axes.barh(row, size, left=left, height=0.7, color=of_choice(number))
        left += size


def _value(axes: Axes, row: int, at: float, text: str) -> None:
    axes.annotate(
        text, (at, row), (5, 0), textcoords="offset points", va="center", color=LIGHT["muted"], annotation_clip=False
    )


def _finish(axes: Axes, names: list[str], most: float, show: object) -> None:
    left = axes.get_position().x0 * axes.figure.bbox.width * 72 / axes.figure.dpi
    most_letters = int((left - 16) / _LETTER)
    shown = [name if len(name) <= most_letters else f"{name[: most_letters - 1]}…" for name in names]
    axes.set_yticks(range(len(names)), shown, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.02 * most or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))  # type: ignore[operator]


def _placed(entries: list[Entry], width: int) -> Iterator[tuple[int, float, Entry]]:
    """Yields the line and the left end of each legend entry; a line holds as many as fit."""
    line, left = 0, 8.0
    for entry in entries:
        room = (7.0 if width < NARROW else 8.2) * (len(entry[1]) + 3)
        if left > 8 and left + room > width:
            line, left = line + 1, 8.0
        yield line, left, entry
        left += room


def _lines(entries: list[Entry], width: int) -> int:
    return 1 + max((line for line, _, _ in _placed(entries, width)), default=0)


def _legend(figure: Figure, entries: list[Entry], width: int) -> None:
    """Draws the legend above the figure."""
    height = figure.get_figheight() * 72
    for line, left, (sign, name, colour) in _placed(entries, width):
        figure.text(
            left / width,
            1 - (14 + _LINE * line) / height,
            f"{sign} {name}",
            color=colour,
            va="center",
            parse_math=False,
            fontsize=10 if width < NARROW else 12,
        )
