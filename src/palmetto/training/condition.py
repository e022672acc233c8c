"""Checks, which write nothing, of whether a run can be continued and whether it is finished."""

from pathlib import Path

from palmetto.errors import UserError
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import Event, Summary, read_environment, read_events, read_metrics, read_summary
from palmetto.runs.manifest import CheckpointDamaged, Manifest, check_files
from palmetto.training import ledger
from palmetto.training.ledger import Line


def check(run: RunDirectory, recipe: Recipe) -> None:
    """Raises UserError if a run cannot be continued with `recipe`, or if a file that it resumes from is damaged.

    Only the decisive lines of the ledger, which may be long, are parsed; its chain is checked when the run is resumed.
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
        if run.imported:
            raise UserError(
                f"{run.path}: was imported, and has no tokens to train on; `palmetto finetune {run.path} --data FILE` "
                "trains it further in another directory"
            )
        if not ledger.holds(run.ledger, manifest.attempt, manifest.step, manifest.chain):
            raise UserError(
                f"{run.ledger}: lacks the line of checkpoint {manifest.step}; the ledger that belongs to "
                "the checkpoints is needed to go on"
            )


def _last_step(last: Line | None, events: list[Event]) -> int:
    """Returns the last step of the live path: the target of a rollback decided after the last line, else its step."""
    if last is None:
        return 0
    for event in events:
        if event["event"] == "rollback" and (event["attempt"], event.get("detected")) == (last.attempt + 1, last.step):
            return event["target"]
    return last.step


def summary(run: RunDirectory) -> Summary | None:
    """Returns the summary, or None if it is missing or damaged, since training writes it anew."""
    try:
        return read_summary(run.summary)
    except UserError:
        return None


def took(run: RunDirectory, steps: int) -> bool:
    """Returns whether the summary of a run is that of step `steps`."""
    found = summary(run)
    return found is not None and found["steps"] == steps


def is_finished(run: RunDirectory, until: int) -> bool:
    """Returns whether a run is at step `until` with an intact record.

    Ledger, newest checkpoint and summary must be intact and agree, and the environment must be recorded. Otherwise
    training finds what is wrong when it resumes the run.
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
