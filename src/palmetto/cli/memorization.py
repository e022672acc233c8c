"""`palmetto memorization`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from palmetto.cli.common import Json, answer, path, say
from palmetto.cli.runs import existing


def memorization(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR …", parser=path, help="Runs, such as of several sizes.")
    ],
    spans: Annotated[
        int, typer.Option(min=1, help="The spans to try, of the training text and of held-out text.")
    ] = 500,
    length: Annotated[int, typer.Option(min=2, help="The tokens of a span; its first half is the prompt.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the choice of spans.")] = 0,
    step: Annotated[int | None, typer.Option(min=1, help="The checkpoint to ask; by default the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Measure how much of its training text a model repeats verbatim, by how often it saw it."""
    from palmetto.workflow import evaluation

    measured = [evaluation.memorization(existing(each), spans, length, seed, step, say) for each in directories]
    answer({"runs": measured}, "\n".join(_lines(measured)), as_json)


def _lines(measured: list[dict[str, Any]]) -> Iterator[str]:
    for of in measured:
        yield f"{of['run']}  step {of['step']:,}  {of['parameters']:,} parameters"
        for row in of["rows"]:
            low, high = row["interval"]
            seen = "held out" if row["repeats"] == "0" else f"seen {row['repeats']} times"
            yield f"  {seen:20} {row['value']:6.2f}  [{low:.2f}, {high:.2f}]  {row['spans']:,} spans"
