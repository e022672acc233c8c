"""The figures of a datasheet. Lengths are CSS pixels."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from palmetto.report.canvas import NARROW, STYLE, canvas, plain
from palmetto.report.colours import LIGHT, of_choice
from palmetto.report.curves import compact
from palmetto.report.sheet import Sheet

_ROW = 26
_MOST_LANGUAGES = 24


@STYLE
def shares(sheet: Sheet, width: int) -> Figure:
    """A bar a source: its share of the tokens, and a mark where its weight would have it."""
    figure, axes = _rows(width, len(sheet.sources))
    _draw_shares(axes, sheet)
    return figure


@STYLE
def flow(sheet: Sheet, width: int) -> Figure:
    """A bar a stage: the bytes that are left, by source."""
    figure, axes = _rows(width, len(sheet.flow), legend=True)
    _draw_flow(axes, sheet)
    _legend(figure, sheet, width)
    return figure


@STYLE
def languages(sheet: Sheet, width: int) -> Figure:
    """A bar a language: its tokens, by source."""
    figure, axes = _rows(width, min(len(sheet.languages), _MOST_LANGUAGES), legend=True)
    _draw_languages(axes, sheet)
    _legend(figure, sheet, width)
    return figure


@STYLE
def whole(sheet: Sheet, width: int = 1040) -> Figure:
    """All three, as one picture."""
    counts = [len(sheet.sources), len(sheet.flow), min(len(sheet.languages), _MOST_LANGUAGES)]
    heights = [_ROW * count for count in counts]
    height = sum(heights) + 3 * 66 + 40
    figure = Figure(figsize=(width / 72, height / 72), facecolor=LIGHT["paper"])
    titles = ("Share of tokens: taken, and by weight (|)", "Bytes left after each stage", "Tokens by language")
    top = height - 40
    for draw, rows, title in zip((_draw_shares, _draw_flow, _draw_languages), heights, titles, strict=True):
        figure.text(8 / width, top / height, title, color=LIGHT["ink"], parse_math=False)
        frame = (170 / width, (top - 10 - rows) / height, 1 - 250 / width, rows / height)
        axes = figure.add_axes(frame, facecolor="none")
        plain(axes, grid="x")
        draw(axes, sheet)
        top -= rows + 66
    _legend(figure, sheet, width)
    return figure


def _rows(width: int, count: int, *, legend: bool = False) -> tuple[Figure, Axes]:
    left = 110 if width < NARROW else 170
    above = 34 if legend else 6
    figure, axes = canvas(width, _ROW * count + 30 + above, left=left, right=70, top=above, bottom=24)
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
    shown = list(sheet.languages.items())[:_MOST_LANGUAGES]
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
    axes.annotate(text, (at, row), (5, 0), textcoords="offset points", va="center", color=LIGHT["muted"],
                  annotation_clip=False)  # fmt: skip


def _finish(axes: Axes, names: list[str], most: float, show: object) -> None:
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.02 * most or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))  # type: ignore[operator]


def _legend(figure: Figure, sheet: Sheet, width: int) -> None:
    """The sources' colours, in a line above."""
    height = figure.get_figheight() * 72
    left = 8.0
    for number, source in enumerate(sheet.sources):
        figure.text(left / width, 1 - 14 / height, f"■ {source}", color=of_choice(number), va="center",
                    parse_math=False, fontsize=10 if width < NARROW else 12)  # fmt: skip
        left += (7.0 if width < NARROW else 8.2) * (len(source) + 3)
