"""`palmetto digest`."""

from typing import Annotated

import typer

from palmetto.cli.common import Directory, Json, answer, say
from palmetto.cli.runs import existing


def digest(
    directory: Directory,
    step: Annotated[int | None, typer.Option(help="The checkpoint's step; by default the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Print one SHA-256 of all parameters and one of the optimizer state."""
    from palmetto.workflow import entering

    run = existing(directory)
    entering.enter_to_read(run, say)
    from palmetto.decoding.trained import restore
    from palmetto.training.digest import form_of

    state, at, checkpoints = restore(run, step)
    parameters, optimizer = checkpoints.digests(state, form_of(checkpoints.sealed(at).parameters))
    values = {"step": at, "parameters": parameters, "optimizer": optimizer}
    answer(values, "\n".join(f"{key:10} {value}" for key, value in values.items()), as_json)
