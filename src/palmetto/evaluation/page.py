"""Writes the page of an evaluation: scores against chance, categories, and the examples behind each number."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from palmetto.evaluation import calibration
from palmetto.evaluation.evaluating import Evaluation
from palmetto.evaluation.figure import bias_figure, figure, reliability
from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.tasks.task import AS_THEY_ARE, Example, Outcome, Task, higher_is_better
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
    unscaled = {name: values for name, values in tasks.items() if values["metric"] in AS_THEY_ARE}
    scores = {name: values for name, values in tasks.items() if name not in unscaled and "neutral" not in values}
    biases = {name: values for name, values in tasks.items() if "bias" in values}
    suites = evaluation.results["suites"]
    parts = [
        *(_scores(scores, categories) if scores else ()),
        *(_biases(biases) if biases else ()),
        *(_suites(suites) if suites else ()),
        *_calibration(evaluation),
        *(_unscaled(unscaled) if unscaled else ()),
    ]
    shown = [of for of in evaluation.evaluated.values() if of[0].task.metric not in AS_THEY_ARE]
    examples = "\n".join(_examples(*of) for of in shown)
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
    both = figure(shown, 1040), figure(shown, 380)
    drawn = svg.wide_and_narrow(*both, "scores", "Scores with intervals, against chance")
    yield f"<h2>Scores</h2>\n{drawn}"
    yield f"""<h2>Tasks</h2>
<div class="whole">{_tasks(tasks)}</div>
<p class="note">Scores go from 0 to 100, with intervals of 95 %. Chance is what guessing scores, majority what always
taking the best place scores. What is not above both is grey.</p>"""
    if any("kinds" in values for values in tasks.values()):
        yield f'<h2>Kinds of examples</h2>\n<div class="whole">{_kinds(tasks)}</div>'
    if categories:
        yield f'<h2>Categories</h2>\n<div class="whole">{_categories(categories)}</div>'


def _biases(tasks: dict[str, Any]) -> Iterator[str]:
    """Yields the figure and the table of scores of bias, which are no skill."""
    scores = {f"{name} {metric}": own for name, values in tasks.items() for metric, own in values["bias"].items()}
    both = bias_figure(scores, 1040), bias_figure(scores, 380)
    drawn = svg.wide_and_narrow(*both, "bias", "Bias with intervals, against none")
    names = ("Value", "95 %", "Neutral", "Examples", "Truncated", "Ties")
    head = [("Task", "kind"), ("Metric", "kind"), *((name, "number") for name in names)]
    rows = []
    for name, values in tasks.items():
        counts = [f"{values[key]:,}" for key in ("count", "truncated", "ties")]
        for metric, own in values["bias"].items():
            low, high = own["interval"]
            numbers = _number(own["value"]), f"{_number(low)} to {_number(high)}", _number(own["neutral"])
            rows.append(("" if certain(own) else "grey", [markup.escape(name), metric, *numbers, *counts]))
    yield f"""<h2>Bias</h2>
{drawn}
<div class="whole">{markup.table(head, rows)}</div>
<p class="note">Neither more nor less is better: a model without bias scores what is neutral. A bias that may be none is
grey.</p>"""


def _calibration(evaluation: Evaluation) -> Iterator[str]:
    """Yields a small figure for each task or group with options."""
    tasks, drawn = evaluation.results["tasks"], list[str]()
    parts = {part for values in tasks.values() for part in values.get("parts", ())}
    for name, values in tasks.items():
        members = [evaluation.evaluated[part][1] for part in values.get("parts", (name,))]
        outcomes = [outcome for member in members for outcome in member if outcome.likelihoods]
        apart = name in parts or values["metric"] in AS_THEY_ARE or "neutral" in values
        if apart or not (found := calibration.bins(calibration.favourites(outcomes))):
            continue
        figure, told = reliability(found), f"error {calibration.error(found):.3f}"
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


def _unscaled(tasks: dict[str, Any]) -> Iterator[str]:
    """Yields the table of bits per byte and of log-likelihoods."""
    head = [("Task", "kind"), ("Metric", "kind"), *((name, "number") for name in ("Value", "95 %", "Examples"))]
    rows = []
    for name, values in tasks.items():
        low, high = values["interval"]
        interval = f"{low:.3f} to {high:.3f}"
        shown = markup.escape(name), values["metric"], f"{values['value']:.3f}", interval, f"{values['count']:,}"
        rows.append(("", list(shown)))
    yield f'<h2>Likelihoods</h2>\n<div class="whole">{markup.table(head, rows)}</div>'


def _verdict(tasks: dict[str, Any]) -> str:
    of = [values for values in tasks.values() if values["higher_is_better"]]
    return f"{sum(map(certain, of))} of {len(of)} scores are above chance and majority, with 95 % confidence."


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
        f"<h3>{_label(task, outcome)}: example {outcome.example}</h3>\n"
        + _example(loaded.examples[int(outcome.example)], outcome)
        for outcome in (*right, *wrong)
    )
    return f'<details class="sample"><summary>{markup.escape(task.name)}</summary>\n{shown}</details>'


def _label(task: Task, outcome: Outcome) -> str:
    """Returns right or wrong, or the score by a metric of which higher is not better."""
    score = outcome.scores.get(task.metric, 0.0)
    if not higher_is_better(task.metric):
        return markup.escape(f"{task.metric} {score:.2f}")
    return "right" if score >= 0.5 else "wrong"


def _common(contexts: Sequence[str]) -> int:
    """Returns where contexts begin to differ, at the beginning of a word; the end if they are the same.

    Options differ in their contexts if these have names in a gap.
    """
    if len(set(contexts)) == 1:
        return len(contexts[0])
    alike = itertools.takewhile(lambda characters: len(set(characters)) == 1, zip(*contexts, strict=False))
    return contexts[0].rfind(" ", 0, sum(1 for _ in alike)) + 1


def _example(example: Example, outcome: Outcome) -> str:
    contexts = [option.context for option in example.options] or [example.context]
    common = _common(contexts)
    prompt = contexts[0][:common]
    prompt = prompt if len(prompt) <= _LONGEST else f"…{prompt[-_LONGEST:]}"
    if not example.options:
        lines = [f"answer: {outcome.answer.strip()}", f"accepted: {'; '.join(example.answers[:5])}"]
    else:
        lines = [
            f"{'✓' if place in example.gold else ' '}{'→' if place == outcome.chosen else ' '} "
            f"{option.context[common:]}{option.continuation}"
            for place, option in enumerate(example.options)
        ]
    return markup.block(prompt, "prompt") + markup.block("\n".join(lines))
