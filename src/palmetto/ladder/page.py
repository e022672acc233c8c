"""Writes the results of a ladder: a table, figures and a page."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palmetto.files import write_text
from palmetto.ladder import figure
from palmetto.ladder.pacing import duration
from palmetto.ladder.results import Division, Fitted, Ladder, Prediction, Result
from palmetto.report import svg
from palmetto.report.canvas import write_png
from palmetto.report.curves import compact
from palmetto.report.frame import frame
from palmetto.report.markup import escape, table
from palmetto.scaling.intervals import interval
from palmetto.training import energy

_NUMBERS = ("parameters", "tokens", "FLOPs", "text read", "loss", "kWh")
_COMPUTE, _BOTH = ("c", "a", "b"), ("E", "A", "B", "alpha", "beta")
"""The names of the laws' constants."""


def write(ladder: Ladder, out: Path) -> None:
    """Writes ladder.json, .md, .html and .png; the same results give the same bytes."""
    write_text(out / "ladder.json", json.dumps(values(ladder), indent=2, ensure_ascii=False) + "\n")
    write_text(out / "ladder.md", markdown(ladder))
    write_text(out / "ladder.html", html(ladder))
    write_png(figure.over_parameters(ladder), out / "ladder.png")


def values(ladder: Ladder) -> dict[str, Any]:
    """Returns the ladder as plain values: {"rungs", "fit", "predicted", "interval", …}."""
    prediction = ladder.prediction
    return {
        "recipe": ladder.name,
        "rungs": [_rung(result) for result in ladder.results],
        "fit": {
            "compute": _law(ladder.compute, _COMPUTE),
            "parameters_and_tokens": _law(ladder.both, _BOTH),
            "optimum": ladder.division and _division(ladder.division),
        },
        "predicted": prediction and prediction.loss,
        "interval": prediction and prediction.interval,
        "target": prediction and _target(prediction),
    }


def _rung(result: Result) -> dict[str, Any]:
    rung, outcome = result.rung, result.outcome
    return {
        "directory": rung.member.run.path.name,
        "size": rung.size,
        "tokens_per_parameter": rung.ratio,
        **rung.cost._asdict(),
        "steps": rung.member.recipe.training.steps,
        "repeats": result.repeats,
        "status": outcome.status,
        "reason": outcome.reason or None,
        "validation_loss": result.loss,
        "digest": outcome.digest,
        "energy": result.energy,
    }


def _law(fitted: Fitted, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns a law's constants with their intervals. b is the exponent of a·C^b, which falls, and so negative."""
    if fitted.fit is None:
        return {"runs": fitted.runs, "missing": fitted.missing}
    signs = [-1.0 if name == "b" else 1.0 for name in names]
    law, drawn = fitted.fit.law, fitted.fit.laws
    constants = [law.constant, *law.coefficients, *law.exponents]
    found = {name: sign * float(one) for name, sign, one in zip(names, signs, constants, strict=True)}
    many = drawn and [drawn.constant, *drawn.coefficients.T, *drawn.exponents.T]
    return {
        "runs": fitted.runs,
        **found,
        "noise": fitted.fit.noise,
        "intervals": many
        and {name: interval(sign * draws) for name, sign, draws in zip(names, signs, many, strict=True)},
    }


def _division(division: Division) -> dict[str, Any]:
    parameters, tokens, loss = map(float, division.best)
    return {
        "flops": division.flops,
        "parameters": parameters,
        "parameters_interval": division.parameters,
        "tokens": tokens,
        "tokens_interval": division.tokens,
        "loss": loss,
    }


def _target(prediction: Prediction) -> dict[str, Any]:
    return {
        "recipe": prediction.target.member.recipe.name,
        **prediction.target.cost._asdict(),
        "by": prediction.by or None,
        "energy": prediction.energy,
        "validation_loss": prediction.reached,
        "miss": prediction.miss,
    }


def markdown(ladder: Ladder) -> str:
    """Returns the table of rungs and what follows from them in Markdown."""
    head = ["rung", *_NUMBERS]
    rows = [head, ["---", *["---:"] * len(_NUMBERS)], *_rows(ladder)]
    body = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"# {ladder.name}: a ladder\n\n{body}\n" + "".join(f"- {line}\n" for line in _lines(ladder))


def html(ladder: Ladder) -> str:
    """Returns the page, one self-contained HTML text."""
    shown = table(
        [("rung", "kind"), *((name, "number") for name in _NUMBERS)],
        (("", map(escape, row)) for row in _rows(ladder)),
    )
    verdict, *facts = _lines(ladder)
    figures = (
        ("compute", "Loss over compute", figure.over_compute),
        ("parameters", "Loss over parameters", figure.over_parameters),
        ("tokens", "Loss over tokens", figure.over_tokens),
    )
    drawn = "\n".join(
        f"<h2>{title}</h2>\n{svg.wide_and_narrow(draw(ladder), draw(ladder, 380), name, title)}"
        for name, title, draw in figures
    )
    return frame(
        title=ladder.name,
        mark="Palmetto ladder",
        heading=f"""<h1>{escape(ladder.name)}</h1>
<p class="verdict">{escape(verdict)}</p>
<ul class="key">{"".join(f"<li>{escape(fact)}</li>" for fact in facts)}</ul>""",
        body=f"""{drawn}
<h2>Runs</h2>
<div class="whole">{shown}</div>
<p class="note">Loss: validation loss in nats a token at the last step. Bands and intervals are of 95 %. An open
circle is the target, which the fit has not seen.</p>""",
        footer="Made by <code>palmetto ladder</code>; the same is in <code>ladder.json</code>.",
    )


def _rows(ladder: Ladder) -> Iterator[list[str]]:
    for result in ladder.results:
        cost, used = result.rung.cost, result.energy
        reached = result.outcome.status if result.loss is None else f"{result.loss:.4f}"
        yield [
            result.rung.member.run.path.name,
            f"{cost.parameters:,}",
            compact(cost.tokens),
            f"{cost.flops:.3g}",
            "—" if result.repeats is None else f"{result.repeats:.2f} times",
            reached,
            "—" if used is None or used["kwh"] is None else f"{used['kwh']:.3g}",
        ]


def _lines(ladder: Ladder) -> Iterator[str]:
    """Yields what the ladder shows, each as a sentence: first the prediction, or how far the runs are."""
    done = sum(result.loss is not None for result in ladder.results)
    counted = f"{done} of {len(ladder.results)} runs are finished"
    if ladder.prediction:
        yield from _predicted(ladder.prediction, counted)
    else:
        yield f"{counted}."
    yield _formula(ladder.compute, _COMPUTE, "L(C) = {a} · C^{b} + {c}")
    yield _formula(ladder.both, _BOTH, "L(N, D) = {E} + {A} / N^{alpha} + {B} / D^{beta}")
    if ladder.division:
        best = _division(ladder.division)
        yield (
            f"{best['flops']:.3g} FLOPs are divided best into {compact(best['parameters'])} parameters"
            f"{_within(best['parameters_interval'], compact)} and {compact(best['tokens'])} tokens"
            f"{_within(best['tokens_interval'], compact)}."
        )
    for result in ladder.results:
        if result.outcome.reason:
            yield f"{result.rung.member.run.path.name} failed: {result.outcome.reason}"


def _predicted(prediction: Prediction, counted: str) -> Iterator[str]:
    name, cost, used = prediction.target.member.recipe.name, prediction.target.cost, prediction.energy
    if prediction.loss is None:
        yield f"{name}: nothing can be predicted yet; {counted}."
    else:
        within = _within(prediction.interval, "{:.4f}".format)
        text = f"{name}: predicted loss {prediction.loss:.4f}{within}, by {prediction.by}"
        if prediction.miss is not None:
            text += f"; it reached {prediction.reached:.4f}, {prediction.miss:+.2%}".replace("-", "−")
        yield f"{text}."
    time = "" if used["hours"] is None else f"{duration(used['hours'])} here; "
    yield (
        f"{name} has {cost.parameters:,} parameters and {compact(cost.tokens)} tokens, {cost.flops:.3g} FLOPs: "
        f"{time}{', '.join(energy.describe(used))}."
    )


def _formula(fitted: Fitted, names: tuple[str, ...], form: str) -> str:
    """Returns a law with its constants, or why there is none."""
    found = _law(fitted, names)
    if "missing" in found:
        return f"No law: {found['missing']}."
    written = form.format(**{name: f"{found[name]:.4g}" for name in names})
    off = "" if found["noise"] is None else f"; a run lies {found['noise']:.2%} from it"
    return f"{written}, from {fitted.runs} runs{off}.".replace("-", "−")


def _within(bounds: tuple[float, float] | None, show: Any) -> str:
    return "" if bounds is None else f" ({show(bounds[0])} to {show(bounds[1])})"
