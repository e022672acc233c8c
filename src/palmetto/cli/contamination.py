"""`palmetto contamination`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from palmetto.cli.common import Json, answer, path


def contamination(
    out: Annotated[Path, typer.Argument(metavar="OUT", parser=path, help="The folder of an evaluation.")],
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", parser=path, help="The corpus of the model, built with evaluation sets.")
    ],
    as_json: Json = False,
) -> None:
    """Compare scores on examples that the training text contains with those on the others."""
    from palmetto.evaluation.contamination import split

    compared = split(out, corpus)
    answer(compared, "\n".join(_lines(compared)), as_json)


def _lines(compared: dict[str, Any]) -> Iterator[str]:
    for name, values in compared["tasks"].items():
        sides = "  ".join(_side(side, values[side]) for side in ("clean", "contaminated"))
        change = values["difference"]
        shown = (
            f"  {change['value']:+.2f} [{change['interval'][0]:+.2f}, {change['interval'][1]:+.2f}]" if change else ""
        )
        yield f"{name}  {sides}{shown}"
    for name, why in compared["unmarked"].items():
        yield f"{name}  {why}"


def _side(name: str, values: dict[str, Any] | None) -> str:
    return f"{name} {values['value']:.2f} on {values['count']:,}" if values else f"none {name}"
