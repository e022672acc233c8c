"""Writes the page of a comparison: the scores of several evaluations side by side, and their paired differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from palmetto.evaluation.figure import score_axes
from palmetto.evaluation.tasks.task import AS_THEY_ARE
from palmetto.files import write_text
from palmetto.report import markup, svg
from palmetto.report.canvas import STYLE
from palmetto.report.colours import LIGHT, of_choice
from palmetto.report.frame import frame
from palmetto.report.scores import baseline, certain, curve, point

_APART = 0.3
"""The distance between the runs of a task, in rows."""


def write(compared: Mapping[str, Any], file: Path) -> None:
    """Writes the page of what `compare_all` returns; the same comparison gives the same bytes."""
    write_text(file, html(compared))


def html(compared: Mapping[str, Any]) -> str:
    """Returns the page as one self-contained HTML text."""
    tasks = compared["tasks"]
    scores = {name: values for name, values in _standing(tasks).items() if values["metric"] not in AS_THEY_ARE}
    left_out = "".join(f" {markup.escape(name)}: {why}." for name, why in compared["unpaired"].items())
    drawn = ""
    for heading, title, neutral in (
        ("Scores", "Scores with intervals of 95 %; hollow ones may be chance", False),
        ("Bias", "Bias with intervals of 95 %; hollow ones may be none", True),
    ):
        own = {name: values for name, values in scores.items() if ("neutral" in values["first"]) == neutral}
        if own:
            wide, narrow = (figure(own, compared["folders"], title, width) for width in (1040, 380))
            label = f"{heading} of each evaluation, with intervals"
            drawn += f"<h2>{heading}</h2>\n{svg.wide_and_narrow(wide, narrow, heading.lower(), label)}\n"
    return frame(
        title="comparison",
        mark="Palmetto evaluation",
        heading=f'<h1>Comparison</h1>\n<p class="verdict">{markup.escape(_verdict(_standing(tasks)))}</p>',
        body=f"""{drawn}
{"".join(_curves(compared, name, values) for name, values in compared["over"].items())}
<h2>Differences from {markup.escape(compared["folders"][0])}</h2>
<div class="whole">{_differences({**tasks, **compared["means"]})}</div>
<p class="note">Differences are paired by example, with intervals of 95 %. Those that may be 0 are grey. The last
column is the number of examples that would show such a difference at 5 % with a power of 80 %.{left_out}</p>""",
        footer="Made by <code>palmetto compare</code>.",
    )


def _standing(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the groups, and the tasks that are no part of one."""
    parts = {part for values in tasks.values() for part in values.get("parts", ())}
    return {name: values for name, values in tasks.items() if name not in parts}


def _curves(compared: Mapping[str, Any], over: str, values: Sequence[int]) -> str:
    """Returns a small figure for each task or group: its scores over what is another in each evaluation."""
    drawn = list[str]()
    for name, task in _standing(compared["tasks"]).items():
        ordered = sorted(zip(values, [task["first"], *task["others"]], strict=True), key=lambda pair: pair[0])
        figure = curve([point(at, own) for at, own in ordered], baseline(task["first"]), ratio=over == "parameters")
        last = f"{ordered[-1][1]['value']:.2f} {task['metric']}"
        drawn.append(svg.small(figure, f"{over}-{len(drawn)}", name, f"{name} by {over}", last))
    for name, suite in compared["suites"].items():
        pairs = sorted(zip(values, suite["values"], strict=True), key=lambda pair: pair[0])
        points = [point(at, {**own, "chance": 0.0, "majority": 0.0}) for at, own in pairs]
        figure = curve(points, suite["references"], ratio=over == "parameters")
        last = f"{pairs[-1][1]['value']:.2f}"
        drawn.append(svg.small(figure, f"{over}-{len(drawn)}", name, f"{name} by {over}", last))
    return f"""<h2>Scores by {over}</h2>
<p class="note">With intervals of 95 %; what cannot be told from chance, or from always taking the best place, is
grey, and so is a bias that may be none.</p>
<div class="panels">{"".join(drawn)}</div>"""


def _verdict(tasks: Mapping[str, Any]) -> str:
    """Returns how many differences are certain, of tasks and groups that share no example."""
    groups = {name: set(values["parts"]) for name, values in tasks.items() if "parts" in values}
    within = {name for name, parts in groups.items() if any(parts < others for others in groups.values())}
    every = [other for name, values in tasks.items() if name not in within for other in values["others"]]
    return f"{sum(map(_certain, every))} of {len(every)} differences are certain at 95 %."


def _certain(other: Mapping[str, Any]) -> bool:
    low, high = other["difference_interval"]
    return bool(low > 0 or high < 0)


def _differences(tasks: Mapping[str, Any]) -> str:
    numbers = ("First", "Other", "Difference", "95 %", "Examples", "Needed")
    head = [("Task", "kind"), ("Evaluation", "text"), *((name, "number") for name in numbers)]
    rows = []
    for name, values in tasks.items():
        for other in values["others"]:
            low, high = other["difference_interval"]
            cells = [
                markup.escape(name),
                markup.escape(other["folder"]),
                f"{values['first']['value']:.2f}",
                f"{other['value']:.2f}",
                f"{other['difference']:+.2f}",
                f"{low:+.2f} to {high:+.2f}",
                f"{values['count']:,}",
                "" if other["needed"] is None else f"{other['needed']:,}",
            ]
            rows.append(("" if _certain(other) else "grey", cells))
    return markup.table(head, rows)


@STYLE
def figure(tasks: Mapping[str, Any], folders: Sequence[str], title: str, width: int) -> Figure:
    """Returns a figure with a row for each task, and in it the score and interval of each evaluation."""
    spread = _APART * (len(folders) - 1)
    drawn, axes = score_axes(tasks, title, width, top=34 + 18 * len(folders), row=round(20 * (1 + spread)))
    for place, values in enumerate(tasks.values()):
        for number, own in enumerate([values["first"], *values["others"]]):
            at, colour = place + _APART * number - spread / 2, of_choice(number)
            axes.plot(own["interval"], (at, at), color=colour, linewidth=1.4, solid_capstyle="butt")
            fill = colour if certain(own) else LIGHT["paper"]
            axes.plot(own["value"], at, color=colour, marker="o", markersize=5, markerfacecolor=fill)
    height = round(72 * drawn.get_figheight())
    for number, folder in enumerate(folders):
        at, colour = 1 - (32 + 18 * number) / height, of_choice(number)
        drawn.text(8 / width, at, f"● {folder}", va="center", color=colour, parse_math=False)
    return drawn
