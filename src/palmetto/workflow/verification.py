"""Verification of a run in an environment as close as possible to its own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from palmetto.errors import UserError
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.workflow.entering import enter
from palmetto.workflow.progress import Reporter, Say

if TYPE_CHECKING:
    from palmetto.training.replay import Difference


def verify(
    run: RunDirectory, start: int | None, end: int | None, say: Say, overrides: Sequence[str] = ()
) -> "tuple[int, Difference | None]":
    """Replays a run, on its own mesh or another, and returns as `training.verify.verify`.

    Raises UserError if `overrides` change anything but the mesh.
    """
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] != "mesh":
            raise UserError(
                f"{override}: a run is replayed with the values that it was trained with, but for its mesh, as in "
                "mesh.data=2"
            )
    recipe = loading.load(str(run.recipe_file), overrides)
    enter(run, say, recipe)
    from palmetto.training.verify import verify

    with Reporter("verifying", run.ledger_lines if end is None else end) as reporter:
        return verify(run, recipe, start, end, reporter.step)
