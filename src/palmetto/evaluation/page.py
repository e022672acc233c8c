"""Writes the page of an evaluation: scores against chance, categories, and the examples behind each number."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from palmetto.evaluation import calibration
from palmetto.evaluation.evaluating import Evaluation
from palmetto.evaluation.figure import figure
from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.tasks.task import BITS, Example, Outcome
from palmetto.files import text_bytes, write_bytes
from palmetto.report import markup, svg
from palmetto.report.frame import frame
from palmetto.report.scores import certain

_SHOWN = 3
"""The number of right and of wrong examples of each task."""
_LONGEST = 600
"""The most characters of a prompt, of which the end is shown."""


def write(evaluation: Evaluation, out: Path, name: str) -> None:
    """Writes page.html into a folder; `name` is the name of the run."""
    write_bytes(out / "page.html", text_bytes(html(evaluation, name)))


def html(evaluation: Evaluation, name: str) -> str:
    """Returns the page as one self-contained HTML text; the same evaluation gives the same text."""
    tasks, categories = evaluation.results["tasks"], evaluation.results["categories"]
    scores = {name: values for name, values in tasks.items() if values["metric"] != BITS}
    texts = {name: values for name, values in tasks.items() if values["metric"] == BITS}
    suites = evaluation.results["suites"]
    parts = [
        *(_scores(scores, categories) if scores else ()),
        *(_suites(suites) if suites else ()),
        *_calibration(evaluation),
        *(_texts(texts) if texts else ()),
    ]
    examples = "\n".join(_examples(*of) for of in evaluation.evaluated.values() if of[0].task.metric != BITS)
    return frame(
        title=name,
        mark="Palmetto evaluation",
        heading=f'<h1>{markup.escape(name)}</h1>\n<p class="verdict">{markup.escape(_verdict(scores))}</p>',
        body="\n".join([*parts, f"<h2>Examples</h2>\n{examples}"]),
        footer="Made by <code>palmetto eval</code>; every request is a line of <code>ledger.jsonl</code>.",
    )


def _scores(tasks: dict[str, Any], categories: dict[str, Any]) -> Iterator[str]:
    """Yields the figure and the tables of scores from 0 to 100."""
    # The parts of a group are in the table, and the group in the figure, so that it can be seen at a glance.
    parts = {part for values in tasks.values() for part in values.get("parts", ())}
    shown = {name: values for name, values in tasks.items() if name not in parts}
    drawn = svg.wide_and_narrow(figure(shown), figure(shown, 380), "scores", "Scores with intervals, against chance")
    yield f"<h2>Scores</h2>\n{drawn}"
    yield f"""<h2>Tasks</h2>
<div class="whole">{_tasks(tasks)}</div>
<p class="note">Scores go from 0 to 100, with intervals of 95 %. Chance is what guessing scores, majority what always
taking the best place scores. What is not above both is grey.</p>"""
    if any("kinds" in values for values in tasks.values()):
        yield f'<h2>Kinds of examples</h2>\n<div class="whole">{_kinds(tasks)}</div>'
    yield f'<h2>Categories</h2>\n<div class="whole">{_categories(categories)}</div>'


def _calibration(evaluation: Evaluation) -> Iterator[str]:
    """Yields a small figure for each task or group with options."""
    tasks, drawn = evaluation.results["tasks"], list[str]()
    parts = {part for values in tasks.values() for part in values.get("parts", ())}
    for name, values in tasks.items():
        members = [evaluation.evaluated[part][1] for part in values.get("parts", (name,))]
        outcomes = [outcome for member in members for outcome in member if outcome.likelihoods]
        if name in parts or not (found := calibration.bins(outcomes)):
            continue
        figure, told = calibration.reliability(found), f"error {calibration.error(found):.3f}"
        drawn.append(svg.small(figure, f"calibration-{len(drawn)}", name, f"{name}: accuracy by confidence", told))
    if drawn:
        yield f"""<h2>Calibration</h2>
<p class="note">How often the most probable option is right, over its probability among the options. On the dashed line
both are equal; the error is their mean distance. The area of a point grows with the number of its examples.</p>
<div class="panels">{"".join(drawn)}</div>"""


def _suites(suites: dict[str, Any]) -> Iterator[str]:
    """Yields the table of what suites report."""
    head = [("Suite", "kind"), ("Figure", "kind"), ("Mean", "number"), ("95 %", "number"), ("Missing", "text")]
    rows = [
        ("", [name, label, _number(values["value"]), _interval(values), ", ".join(suite["missing"])])
        for name, suite in suites.items()
        for label, values in suite["figures"].items()
    ]
    yield f'<h2>Suites</h2>\n<div class="whole">{markup.table(head, rows)}</div>'


def _texts(tasks: dict[str, Any]) -> Iterator[str]:
    """Yields the table of the information in texts."""
    head = [("Text", "kind"), ("Bits per byte", "number"), ("95 %", "number"), ("Texts", "number")]
    rows = []
    for name, values in tasks.items():
        low, high = values["interval"]
        interval = f"{low:.3f}–{high:.3f}"
        rows.append(("", [markup.escape(name), f"{values['value']:.3f}", interval, f"{values['count']:,}"]))
    yield f'<h2>Texts</h2>\n<div class="whole">{markup.table(head, rows)}</div>'


def _verdict(tasks: dict[str, Any]) -> str:
    above = sum(map(certain, tasks.values()))
    return f"{above} of {len(tasks)} scores are above chance and majority, with 95 % confidence."


def _number(value: float) -> str:
    return f"{value:.1f}"


def _interval(values: dict[str, Any]) -> str:
    low, high = values["interval"]
    return f"{_number(low)}–{_number(high)}"


def _tasks(tasks: dict[str, Any]) -> str:
    names = ("Score", "95 %", "Chance", "Majority", "Examples", "Truncated", "Unparsed", "Ties")
    head = [("Task", "kind"), ("Metric", "kind"), *((name, "number") for name in names)]
    rows = []
    for name, values in tasks.items():
        counts = (f"{values[key]:,}" for key in ("count", "truncated", "unparsed", "ties"))
        numbers = (_number(values["chance"]), _number(values["majority"]), *counts)
        cells = [markup.escape(name), values["metric"], _number(values["value"]), _interval(values), *numbers]
        rows.append(("" if certain(values) else "grey", cells))
    return markup.table(head, rows)


def _kinds(tasks: dict[str, Any]) -> str:
    head = [("Task", "kind"), ("Examples", "kind"), ("Score", "number"), ("95 %", "number"), ("Count", "number")]
    rows = [
        ("", [markup.escape(name), markup.escape(kind), _number(own["value"]), _interval(own), f"{own['count']:,}"])
        for name, values in tasks.items()
        for kind, own in values.get("kinds", {}).items()
    ]
    return markup.table(head, rows)


def _categories(categories: dict[str, Any]) -> str:
    head = [("Category", "kind"), ("Mean", "number"), ("95 %", "number"), ("Tasks", "text")]
    return markup.table(
        head,
        (
            ("", [markup.escape(name), _number(values["value"]), _interval(values), ", ".join(values["tasks"])])
            for name, values in categories.items()
        ),
    )


def _examples(loaded: Loaded, outcomes: Sequence[Outcome]) -> str:
    task = loaded.task
    right = [outcome for outcome in outcomes if outcome.scores.get(task.metric, 0.0) >= 0.5][:_SHOWN]
    wrong = [outcome for outcome in outcomes if outcome.scores.get(task.metric, 0.0) < 0.5][:_SHOWN]
    shown = "".join(
        f"<h3>{'right' if outcome in right else 'wrong'}: example {outcome.example}</h3>\n"
        + _example(loaded.examples[int(outcome.example)], outcome)
        for outcome in (*right, *wrong)
    )
    return f'<details class="sample"><summary>{markup.escape(task.name)}</summary>\n{shown}</details>'


def _example(example: Example, outcome: Outcome) -> str:
    context = example.options[0].context if example.options else example.context
    prompt = context if len(context) <= _LONGEST else f"…{context[-_LONGEST:]}"
    if not example.options:
        lines = [f"answer: {outcome.answer.strip()}", f"accepted: {'; '.join(example.answers[:5])}"]
    else:
        lines = [
            f"{'✓' if place in example.gold else ' '}{'→' if place == outcome.chosen else ' '} {option.continuation}"
            for place, option in enumerate(example.options)
        ]
    return markup.block(prompt, "prompt") + markup.block("\n".join(lines))
