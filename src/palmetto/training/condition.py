"""The condition that a run is in, looked at without writing anything: may it go on, and is it finished?"""

from pathlib import Path

from palmetto.errors import UserError
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import Event, Summary, read_environment, read_events, read_metrics, read_summary
from palmetto.runs.manifest import CheckpointDamaged, Manifest, check_files
from palmetto.training import ledger
from palmetto.training.ledger import Line


def check(run: RunDirectory, recipe: Recipe) -> None:
    """UserError where a run cannot go on with `recipe`, or a file that it goes on from is not what was written.

    Of the ledger, which may be long, only what decides is read here; its chain is checked when the run is resumed.
    """
    run.check(recipe)
    read_environment(run.environment)
    events = read_events(run.events)
    read_metrics(run.metrics)
    if (step := _last_step(ledger.last(run.ledger), events)) > recipe.training.steps:
        raise UserError(f"training.steps={recipe.training.steps}: the run is at step {step} already")
    if manifest := run.newest_manifest:
        where = run.checkpoints / f"{manifest.step:08d}"
        if not recipe.continues(manifest.recipe):
            raise UserError(
                f"{where}: a checkpoint of another recipe than this one; give the recipe that {run.path} "
                "was begun with, or another directory with --run"
            )
        if not ledger.holds(run.ledger, manifest.attempt, manifest.step, manifest.chain):
            raise UserError(
                f"{run.ledger}: lacks the line of checkpoint {manifest.step}; the ledger that belongs to "
                "the checkpoints is needed to go on"
            )


def _last_step(last: Line | None, events: list[Event]) -> int:
    """Returns the last step of the live path: that of the last line, unless a rollback was decided on behind it."""
    if last is None:
        return 0
    for event in events:
        if event["event"] == "rollback" and (event["attempt"], event.get("detected")) == (last.attempt + 1, last.step):
            return event["target"]
    return last.step


def summary(run: RunDirectory) -> Summary | None:
    """Returns the summary; None where it is damaged too, as training writes it anew."""
    try:
        return read_summary(run.summary)
    except UserError:
        return None


def is_finished(run: RunDirectory, until: int) -> bool:
    """Returns whether a run is at step `until`, with ledger, newest checkpoint and summary whole and of one another,
    and its environment on record.

    Where it is not, training finds what is wrong as it does in a run that goes on.
    """
    found, manifest = summary(run), run.newest_manifest
    if found is None or manifest is None or not found["steps"] == manifest.step == until:
        return False
    if not run.environment.exists():
        return False
    try:
        chain = ledger.read(run.ledger, whole=True)[1][-1:]
    except UserError:
        return False
    return (
        chain == [manifest.chain]
        and found["digest"] == {"parameters": manifest.parameters, "optimizer": manifest.optimizer}
        and _is_whole(run.checkpoints / f"{until:08d}" / "arrays", manifest)
    )


def _is_whole(arrays: Path, manifest: Manifest) -> bool:
    """Returns whether a checkpoint has the files that its manifest lists, and no others."""
    try:
        check_files(arrays, manifest)
    except CheckpointDamaged:
        return False
    return True
