"""`palmetto import`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Json, answer, path, say


def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", parser=path, help="A folder with weights and config.")],
    run: Annotated[Path, typer.Option(parser=path, metavar="DIR", help="The run directory to make.")],
    as_json: Json = False,
) -> None:
    """Make a run of an export, or of a Hugging Face folder whose class is exact for a recipe."""
    from palmetto.host import environment
    from palmetto.runs.directory import RunDirectory

    environment.prepare(os.cpu_count() or 1)
    from palmetto.interop import importing

    directory = RunDirectory(run)
    vocabulary = importing.make(source, directory)
    manifest = directory.newest_manifest
    assert manifest is not None
    if vocabulary is None:
        say(f"{source}: its tokenizer is no lossless sentencepiece model, so that the run has no vocabulary for text")
    values = {"run": str(run), "step": 0, "parameters": manifest.parameters, "vocabulary": vocabulary}
    answer(values, f"{run}: parameters {manifest.parameters}", as_json)
