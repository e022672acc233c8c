"""Draws docs/images/pipeline.png, the work of each pipeline stage over time, from the timetables that training uses.

    .venv/bin/python benchmarks/pipeline_picture.py [--stages 4] [--micro-batches 12] [FILE]

A forward pass is one unit of time wide and a backward pass three, since it repeats the forward pass. The shares of idle
time do not depend on these widths.
"""

import argparse
from pathlib import Path
from typing import get_args

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palmetto.parallel.schedules import Schedule, Timetable, timetable
from palmetto.report.canvas import STYLE, canvas, plain, write_png
from palmetto.report.colours import LIGHT

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "pipeline.png"
NAMES: dict[Schedule, str] = {"gpipe": "GPipe", "1f1b": "1F1B"}
COSTS, COLOURS = (1, 3), ("train", "validation")
"""The widths and colours of forward and backward passes."""


@STYLE
def figure(stages: int, micro_batches: int, width: int = 1040) -> Figure:
    """Draws a panel for each schedule, one below the other, with a row for each stage and time to the right."""
    schedules, rows, head, foot, left, right = get_args(Schedule), 24 * stages, 40, 26, 64, 74
    height = (head + rows) * len(schedules) + foot
    drawn, axes = canvas(width, height, left=left, right=right, top=head, bottom=height - head - rows)
    for number, schedule in enumerate(schedules):
        table, top = timetable(schedule, stages, micro_batches), height - head - number * (head + rows)
        if number:
            frame = (left / width, (top - rows) / height, 1 - (left + right) / width, rows / height)
            axes = drawn.add_axes(frame, facecolor="none")
            plain(axes, grid="y")
        draw(axes, table)
        text = f"{NAMES[schedule]}: idle {table.bubble:.1%} of the time, at most {max(table.in_flight)} inputs kept"
        drawn.text(8 / width, (top + 18) / height, text, va="center", color=LIGHT["ink"])
        drawn.text(1 - 8 / width, (top + 18) / height, "inputs kept", va="center", ha="right", color=LIGHT["muted"])
    place = float(left)
    for text, colour in (("forward", "train"), ("backward, forward again", "validation"), ("idle", "muted")):
        drawn.text(place / width, foot / 2 / height, text, va="center", color=LIGHT[colour])
        place += 7.5 * len(text) + 20
    return drawn


def draw(axes: Axes, table: Timetable) -> None:
    """Draws every pass with the number of its micro-batch. Turns in which no stage works are left out."""
    time, stages = 0, len(table.in_flight)
    for turns in zip(*table, strict=True):
        for half, cost, colour in zip(turns, COSTS, COLOURS, strict=True):
            if max(half) < 0:
                continue
            for stage, number in enumerate(half):
                shade = LIGHT["grid" if number < 0 else colour]
                axes.barh(stage, cost, left=time, height=0.86, color=shade, edgecolor=LIGHT["paper"], linewidth=0.8)
                if number >= 0:
                    axes.text(
                        time + cost / 2, stage, str(number), ha="center", va="center", color=LIGHT["paper"], fontsize=9
                    )
            time += cost
    axes.set_xlim(0, time)
    axes.set_ylim(stages - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks(range(stages), [f"stage {stage}" for stage in range(stages)])
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    for stage, most in enumerate(table.in_flight):
        axes.annotate(
            str(most),
            (1, stage),
            (8, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            color=LIGHT["muted"],
            annotation_clip=False,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--micro-batches", type=int, default=12)
    arguments = parser.parse_args()
    write_png(figure(arguments.stages, arguments.micro_batches), arguments.file)


if __name__ == "__main__":
    main()
