"""Reads the outcomes that an evaluation has recorded."""

from pathlib import Path

from palmetto.errors import UserError
from palmetto.evaluation.evaluating import OUTCOMES
from palmetto.evaluation.tasks.task import Outcome
from palmetto.json_lines import read_json_lines


def outcomes_of(folder: Path) -> dict[str, list[Outcome]]:
    """Returns the outcomes of each task; raises UserError if the folder holds no finished evaluation."""
    lines = read_json_lines(folder / OUTCOMES)
    if not lines:
        raise UserError(f"{folder}: no finished evaluation; `palmetto eval … --out {folder}` writes one")
    outcomes: dict[str, list[Outcome]] = {}
    for number, line in enumerate(lines, 1):
        try:
            outcomes.setdefault(line.pop("task"), []).append(Outcome(**line))
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{folder / OUTCOMES}: line {number} is not an outcome of this version") from None
    return outcomes
