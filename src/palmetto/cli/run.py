"""`palmetto run`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Json, Overrides, RecipeName, RunOption, SourceOption, say
from palmetto.cli.runs import answer_summary, check_devices, prepare
from palmetto.errors import UserError
from palmetto.host import signals


def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    source: SourceOption = None,
    run: RunOption = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="Choose training.steps so that everything takes about as long on this machine."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Do every stage: vocabulary, tokens, training, samples, report. A stage that is already done is skipped."""
    from palmetto.workflow import report, sampling, timing, tokens, training

    begun = time.monotonic()
    if minutes is not None and any(override.startswith("training.steps=") for override in overrides or ()):
        raise UserError("--minutes, training.steps: give one of them")
    resolved, directory = prepare(recipe, overrides, source, run)
    check_devices(resolved, resolved.mesh.devices)
    training.check_weights(directory, resolved)
    with directory.locked():
        fits = minutes is not None and not directory.begun
        if minutes is not None:  # the recipe's own number of steps may be more than the text allows
            resolved = timing.with_steps(resolved, 1) if fits else timing.as_begun(directory, resolved, say)
        training.check(directory, resolved)
        tokens.build_tokens(directory, resolved, say)
        if minutes is not None and fits:
            resolved = timing.fit(directory, resolved, begun + 60 * minutes, say)
        finished = training.train(directory, resolved, resolved.training.steps, say)
        if finished:
            sampling.write_samples(directory, say)
        else:
            signals.ignore_interrupts()
        report.write_report(directory, say)
    answer_summary(directory, as_json)
    if finished and not as_json:
        print(_next_commands(None if source else recipe, directory.path))


def _next_commands(recipe: str | None, directory: Path) -> str:
    """Returns the commands to try after this one, spelled with the program that the user started.

    recipe: for a run of the user's own text; None if this one was that, and may lie in runs/mine.
    """
    palmetto = sys.argv[0] if Path(sys.argv[0]).name != "__main__.py" else f"{sys.executable} -m palmetto"
    commands = [f"generate {directory} --prompt def", f"serve {directory}", f"report {directory}"]
    if recipe:
        commands.append(f"run {recipe} --minutes 5 --source PATH --run runs/mine")
    return "\n".join(["\nNext:", *(f"  {palmetto} {command}" for command in commands)])
