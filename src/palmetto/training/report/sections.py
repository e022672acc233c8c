"""The parts of the page as HTML. Each part says so if the run lacks its data."""

import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from palmetto.recipe.objectives import PreferencesObjective, loss_unit
from palmetto.report import svg
from palmetto.report.markup import block, escape, pairs, table
from palmetto.report.scores import baseline, curve, point
from palmetto.runs.files import Event
from palmetto.training import energy
from palmetto.training.divergence import rises
from palmetto.training.report import figures
from palmetto.training.report.record import Record

_MOST_ROWS = 400


def heading(record: Record) -> str:
    """Returns the recipe's name, the verdict, the main figures and the digests."""
    steps, asked = record.last_step, record.recipe.training.steps
    complete = "" if steps >= asked else f'<p class="status">{escape(_state(record))}</p>'
    measured = record.validations.loss
    losses = " → ".join(f"{loss:.3f}" for loss in [*measured[:1], *measured[1:][-1:]])
    entropy, speed = record.unigram_entropy, record.speed
    unknown = "<small>not recorded yet</small>"
    numbers = [
        ("Parameters", f"{record.parameters:,}"),
        ("Tokens", f"{record.tokens:,}"),
        ("Steps", f"{steps:,} <small>of {asked:,}</small>"),
        ("Rollbacks, NaN steps", f"{len(record.rollbacks)}, {record.skipped_steps}"),
        ("Validation loss", f"{losses} <small>nats</small>" if losses else unknown),
        ("Loss of the base", f"{np.log(2):.3f} <small>nats</small>")
        if isinstance(record.recipe.training.objective, PreferencesObjective)
        else ("Unigram entropy", unknown if entropy is None else f"{entropy:.3f} <small>nats</small>"),
        ("Speed", unknown if speed is None else f"{speed[0]:,.0f} <small>tokens/s</small>"),
        ("MFU", unknown if speed is None else f"{100 * speed[1]:.1f}%"),
    ]
    return (
        f"<h1>{escape(record.recipe.name)}</h1>\n{complete}{_rising(record)}\n"
        f'<p class="verdict">{_verdict(record)}</p>\n{pairs(numbers, "figures")}\n{_digests(record)}'
    )


def _state(record: Record) -> str:
    steps, asked = record.last_step, record.recipe.training.steps
    if any(event["event"] == "gave up" for event in record.events[-1:]):
        return f"gave up at step {steps:,} of {asked:,}"
    return f"stopped at step {steps:,} of {asked:,}" if record.closing else f"unfinished: step {steps:,} of {asked:,}"


def _rising(record: Record) -> str:
    """Returns a line about a loss that has been rising and has not fallen again, or an empty string."""
    found = rises(record.loss[record.live], record.recipe.training.spikes.window)
    return f'<p class="status">{escape(str(found[-1]))}</p>' if found and found[-1].until is None else ""


def _verdict(record: Record) -> str:
    losses, entropy = record.validations.loss, record.unigram_entropy
    if len(losses) < 2:
        return "The validation loss has not been measured twice yet, so nothing can be said of what was learned."
    change, last = losses[-1] - losses[0], losses[-1]
    verb = "fell" if change < 0 else "did not fall: it went"
    moved = f"The validation loss {verb} from {losses[0]:.3f} to {last:.3f}"
    if not np.isfinite(change):
        return f"The validation loss went from {losses[0]:.3f} to {last:.3f}."
    unit = loss_unit(record.recipe.training.objective)
    if isinstance(record.recipe.training.objective, PreferencesObjective):
        return f"{moved} {unit}; log 2 is that of the base."
    if entropy is None:
        return f"{moved} {unit}. The unigram entropy is written with the first summary.json."
    side = "below" if last < entropy else "above"
    return f"{moved} {unit}, {abs(entropy - last):.3f} {side} the unigram entropy of {entropy:.3f}."


def _digests(record: Record) -> str:
    if record.closing:
        found = [(f"SHA-256 of {name}", digest) for name, digest in record.closing["digest"].items()]
    elif record.last_digest:
        step, digest = record.last_digest
        found = [(f"SHA-256 of parameters at step {step:,}", digest)]
    else:
        return '<p class="note">No digest of the parameters yet: the first comes at a step that the recipe names.</p>'
    return pairs([(name, f"<code>{escape(digest)}</code>") for name, digest in found], "pairs")


def loss(record: Record) -> str:
    """Returns the figure of the loss and the key to its marks."""
    if not len(record.step):
        return '<h2>Loss</h2>\n<p class="note">The ledger holds no step yet: there is nothing to draw.</p>'
    figure = figures.loss_figure(record)
    drawn = svg.wide_and_narrow(figure, figures.loss_figure(record, 380, 300), "loss", "Loss by step")
    top = figure.axes[0].get_ylim()[1]
    marks = [
        (bool(record.rollbacks), '<b class="shade"></b>', "rolled back and trained again"),
        (bool(record.rollbacks), "<b>◆</b>", "went on from here, passing over batches"),
        (bool((record.loss[np.isfinite(record.loss)] > top).any()), "<b>▲</b>", "beyond the scale"),
        (bool(record.skipped_steps), '<b class="cross">×</b>', "NaN or Inf: parameters left as they were"),
    ]
    window = figures.smoothing_window(record)
    key = "".join(f"<li>{sign}{escape(text)}</li>" for shown, sign, text in marks if shown)
    return (
        f"<h2>Loss</h2>\n{drawn}\n"
        f'<ul class="key">{key}<li>train: every step faint, the mean of {window:,} steps bold</li></ul>'
    )


def training(record: Record) -> str:
    """Returns a small figure for each quantity, with its last value."""
    if not len(record.step):
        return ""
    return f'<h2>Training</h2>\n<div class="panels">\n{panels(record, figures.panels(record), "panel")}\n</div>'


def panels(record: Record, shown: Iterable[figures.Panel], name: str) -> str:
    """Returns a small figure for each panel, with its last value. `name` makes their ids unique."""
    drawn = []
    for number, panel in enumerate(shown):
        values = panel.values[record.live]
        values = values[np.isfinite(values)]
        last = panel.show(float(values[-1])) if len(values) else "no number"
        figure = figures.panel_figure(record, panel)
        drawn.append(svg.small(figure, f"{name}-{number}", panel.title, f"{panel.title} by step", last))
    return "\n".join(drawn)


def events(record: Record) -> str:
    """Returns the table of events, except validations and evaluations, in the order of time."""
    told = list(_together([event for event in record.events if event["event"] not in ("validation", "evaluation")]))
    head = [("Time (UTC)", "time"), ("Step", "number"), ("Event", "kind"), ("What happened", "text")]
    rows = [
        (
            event["event"] if event["event"] == "rollback" else "",
            [escape(_time(event)), escape(_step(event)), escape(event["event"]), escape(_text(event))],
        )
        for event in told
    ]
    if rows:
        text = table(head, rows[:_MOST_ROWS])
    elif record.events:
        text = "<p>Nothing out of the ordinary: no resume, no spike, no skipped step.</p>"
    else:
        text = '<p class="note">events.jsonl holds nothing: what happened on the way is not known.</p>'
    if len(rows) > _MOST_ROWS:
        text += f'<p class="note">And {len(rows) - _MOST_ROWS:,} more in events.jsonl.</p>'
    for rollback in record.rollbacks:
        if rollback.onset is None:
            text += (
                f'<p class="note">Rollback {rollback.attempt}, from step {rollback.detected:,} back to '
                f"{rollback.target:,}, is known from the ledger alone: its event was lost.</p>"
            )
    return f"<section><h2>Events</h2>\n{text}</section>"


_LEFT_OUT = {
    "skipped step": "NaN or Inf; parameters left as they were",
    "overflow": "a gradient overflowed; parameters left as they were",
}


def _together(events: list[Event]) -> Iterator[Event]:
    """Yields the events. Those of neighbouring steps that were skipped for the same reason are joined."""
    group: list[Event] = []
    for event in [*events, None]:
        if group and not (event and event["event"] == group[0]["event"] and event["step"] == group[-1]["step"] + 1):
            first, last = group[0], group[-1]
            text = f"steps {first['step']} to {last['step']}: {_LEFT_OUT[first['event']]}"
            yield {**first, "text": text} if len(group) > 1 else first
            group = []
        if event and event["event"] in _LEFT_OUT:
            group.append(event)
        elif event:
            yield event


def _time(event: Event) -> str:
    return str(event.get("time", "")).replace("T", " ").removesuffix("Z")


def _step(event: Event) -> str:
    """Returns the step of an event, or an empty string if it has none."""
    return next((f"{event[key]:,}" for key in ("step", "detected", "checkpoint") if key in event), "")


def _text(event: Event) -> str:
    """Returns the text of an event, or else its fields."""
    fields = (f"{key} {value}" for key, value in event.items() if key not in ("time", "event"))
    return str(event.get("text") or "; ".join(fields))


def validations(record: Record) -> str:
    """Returns the table of validation losses on the live path."""
    entropy = np.nan if record.unigram_entropy is None else record.unigram_entropy
    head = [("Step", "number"), ("Loss", "number"), ("Perplexity", "number"), ("Under unigram", "number")]
    rows = [
        (
            "",
            [
                f"{step:,.0f}",
                f"{loss:.4f}",
                f"{np.exp(loss):,.1f}",
                f"{entropy - loss:+.3f}".replace("-", "−").replace("+nan", "–"),
            ],
        )
        for step, loss in zip(*record.validations, strict=True)
    ]
    text = table(head, rows) if rows else '<p class="note">Not measured yet.</p>'
    return f"<section><h2>Validation</h2>\n{text}</section>"


def evaluations(record: Record) -> str:
    """Returns a small figure for each task that checkpoints were evaluated on, or an empty string."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for step, scores in record.evaluations.items():
        for name, values in scores.items():
            found.setdefault(name, {})[step] = values
    drawn = []
    for number, (name, by_step) in enumerate(found.items()):
        points, last = [point(step, values) for step, values in by_step.items()], list(by_step.values())[-1]
        shown = f"{last['value']:.2f} {last['metric']}"
        drawn.append(svg.small(curve(points, baseline(last)), f"evaluation-{number}", name, f"{name} by step", shown))
    if not drawn:
        return ""
    return (
        '<h2>Evaluations</h2>\n<p class="note">Scores by step, with intervals of 95 %. What is not above chance, and '
        "above always taking the best place, is grey; so is a bias that may be none.</p>\n"
        f'<div class="panels">\n{"".join(drawn)}\n</div>'
    )


def samples(record: Record) -> str:
    """Returns the samples, each prompt with its continuations."""
    if record.samples is None:
        text = "There is no samples.txt yet: <code>palmetto run</code> writes it when training is done."
        return f'<h2>Samples</h2>\n<p class="note">{text}</p>'
    title, *parts = re.split(r"^─{5} (.*)\n", record.samples, flags=re.MULTILINE)
    if parts[:1] != ["prompt"]:
        return f"<h2>Samples</h2>\n{block(record.samples)}"
    groups: list[tuple[str, list[str]]] = []
    for name, words in zip(parts[::2], parts[1::2], strict=True):
        shown = words.removesuffix("\n")  # the newline before the next part
        if name == "prompt":
            groups.append((block(shown, "prompt"), []))
        else:
            groups[-1][1].append(f"<div><h3>{escape(name)}</h3>{block(shown)}</div>")
    articles = (
        f'<article class="sample">{prompt}\n<div class="continuations">{"".join(continuations)}</div></article>'
        for prompt, continuations in groups
    )
    return f'<h2>Samples</h2>\n<p class="note">{escape(title)}</p>\n' + "\n".join(articles)


def recipe(record: Record) -> str:
    """Returns the resolved recipe, the text of recipe.yaml."""
    return f"<section><h2>Recipe</h2>\n{block(record.recipe_text)}</section>"


def machine(record: Record) -> str:
    """Returns the environment in which the run began, with the changes up to its last command."""
    began = record.machine or {}
    last: dict[str, Any] = dict(record.summary["environment"]) if record.summary else {}
    values = []
    for key in began | last:
        then = str(began.get(key, "not recorded"))
        changed = key not in began or last.get(key, began[key]) != began[key]
        values.append((key, f"{then} → {last[key]}" if changed else then))
    if record.summary:
        values.append(("peak", f"{record.summary['peak_flops'] / 1e9:,.1f} GFLOP/s, which MFU is taken against"))
        if "energy" in record.summary:
            values.append(("energy", ", ".join(energy.describe(record.summary["energy"]))))
    text = pairs([(name.replace("_", " "), escape(value)) for name, value in values], "pairs")
    if not values:
        text = '<p class="note">There is no environment.json: the machine is not known.</p>'
    return f"<section><h2>Machine</h2>\n{text}</section>"


def reproduction(record: Record, directory: str) -> str:
    """Returns the commands that verify the run and repeat it."""
    there, again = shlex.quote(directory), shlex.quote(f"{directory}-again")
    commands = [
        f"palmetto verify {there}",
        f"palmetto run {there}/recipe.yaml --run {again}",
        f"palmetto digest {again}",
    ]
    return (
        "<h2>Reproduce</h2>\n<p>Beside the run’s directory: replay it and compare every step with its ledger, bit for "
        "bit; or train it anew on the same text and compare the digests with those above. The same jaxlib, instruction "
        "set, thread count and text give the same bits.</p>\n" + block("\n".join(commands), "commands")
    )
