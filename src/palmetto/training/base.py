"""Checks, without reading arrays, of the checkpoint that fine-tuning begins with."""

from pathlib import Path

from palmetto.errors import UserError
from palmetto.recipe.finetuning import Finetuning
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import read_manifest
from palmetto.runs.register import completed, folder_name


def check_base(begun: Finetuning) -> None:
    """Raises UserError if the checkpoint that fine-tuning begins with is not there, or if another one is."""
    run = RunDirectory(Path(begun.base))
    if not run.recipe_file.is_file():
        raise UserError(f"finetuning.base={begun.base}: no run there; expected the directory where it lies now")
    steps = completed(run.checkpoints)
    if begun.step not in steps:
        there = ", ".join(map(str, steps)) or "none"
        raise UserError(f"finetuning.base={begun.base}: no checkpoint of step {begun.step}; there are {there}")
    manifest = read_manifest(run.checkpoints / folder_name(begun.step) / "manifest.json", begun.step)
    if manifest.parameters != begun.parameters:
        raise UserError(
            f"finetuning.base={begun.base}: its step {begun.step} has the parameters {manifest.parameters}; this run "
            f"begins with {begun.parameters}"
        )
    if not run.recipe.continues(manifest.recipe):
        raise UserError(f"{run.recipe_file}: altered since checkpoint {begun.step} was trained; undo that")
