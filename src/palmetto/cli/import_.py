"""`palmetto import`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Json, answer, path, say, text_path


def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", parser=text_path, help="A folder with weights and config, or its address."),
    ],
    run: Annotated[Path, typer.Option(parser=path, metavar="DIR", help="The run directory to make.")],
    as_json: Json = False,
) -> None:
    """Make a run of an export, or of a Hugging Face folder whose class is exact for a recipe."""
    from palmetto.host import environment
    from palmetto.runs.directory import RunDirectory

    environment.prepare(os.cpu_count() or 1)
    from palmetto.interop import importing, remote

    directory = RunDirectory(run)
    with remote.source(source) as folder:
        vocabulary = importing.make(folder, directory)
    manifest = directory.newest_manifest
    assert manifest is not None
    if isinstance(vocabulary, str):
        say(f"{source}: the run has no vocabulary for text: {vocabulary}")
    else:
        for remark in vocabulary.remarks():
            say(f"{source}: its tokenizer {remark}")
    digest = None if isinstance(vocabulary, str) else vocabulary.digest
    values = {"run": str(run), "step": 0, "parameters": manifest.parameters, "vocabulary": digest}
    answer(values, f"{run}: parameters {manifest.parameters}", as_json)
