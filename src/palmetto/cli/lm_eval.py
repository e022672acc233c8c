"""`palmetto lm-eval`."""

from typing import Annotated

import typer

from palmetto.cli.common import Directory
from palmetto.cli.runs import existing


def lm_eval(
    context: typer.Context,
    directory: Directory,
    step: Annotated[int | None, typer.Option(min=0, help="The checkpoint to evaluate; by default the newest.")] = None,
) -> None:
    """Evaluate a checkpoint with lm-eval. All other options are those of lm-eval, such as --tasks and --num_fewshot."""
    from palmetto.corpus.extras import need

    run = existing(directory)
    need("lm_eval", "eval")
    from palmetto.adapters.lm_eval import main

    main(run.path, step, context.args)
