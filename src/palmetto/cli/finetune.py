"""`palmetto finetune`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palmetto.cli.common import Directory, Json, Overrides, path, say
from palmetto.cli.runs import answer_summary, check_devices, existing, from_anywhere
from palmetto.errors import UserError
from palmetto.host import signals

if TYPE_CHECKING:
    from palmetto.workflow.choosing import Judges


def finetune(
    directory: Directory,
    overrides: Overrides = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[=WEIGHT]", help="Examples as JSON lines; repeat it for several files."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(metavar="RECIPE", help="A recipe of fine-tuning (`palmetto recipes` lists them) or a YAML file."),
    ] = "adamw",
    step: Annotated[int | None, typer.Option(min=0, help="Begin with this checkpoint, by default the newest.")] = None,
    lora: Annotated[
        str | None,
        typer.Option(metavar="PATTERN[,PATTERN…]", help="Train low-rank adapters of these weights alone, as in q,v."),
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="The inner size of the adapters; 8 by default.")] = None,
    run: Annotated[
        Path | None, typer.Option(parser=path, metavar="DIR", help="The new run; by default runs/NAME-RECIPE.")
    ] = None,
    choose: Annotated[
        str | None,
        typer.Option(metavar="TASK[,TASK…]", help="Choose the checkpoint with the best score on these tasks."),
    ] = None,
    tasks_data: Annotated[
        Path | None, typer.Option(parser=path, metavar="FOLDER", help="The folder with a folder for each task's set.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The number of first examples of each task.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="End after this many checkpoints without a better score.")
    ] = None,
    until: Annotated[int | None, typer.Option(metavar="STEP", help="Stop after this step.")] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a run on examples. The result is a run like any other; the same command resumes it."""
    from palmetto.host import variables
    from palmetto.recipe import sense
    from palmetto.runs.directory import RunDirectory
    from palmetto.workflow import choosing, finetuning, report, sampling, tokens, training

    variables.check()
    base = existing(directory)
    adapted = [] if lora is None else [f"model.lora={json.dumps({'weights': _names(lora), 'rank': rank or 8})}"]
    if rank is not None and lora is None:
        raise UserError(f"--rank {rank}: is for adapters; expected --lora PATTERN")

    changes = [*adapted, *(overrides or [])]
    if run is None:
        sense.check_name(name := finetuning.name(base, recipe, changes), "--run")
        run = Path("runs") / name
    tuned = RunDirectory(run)
    begun = tuned.recipe.finetuning if tuned.begun else None
    if begun is not None and step not in (None, begun.step):
        begun = None
    # The base may have newer checkpoints by now, and that one no more.
    resolved = from_anywhere(finetuning.begin(base, step, recipe, data or [], changes, begun))
    judges = _judges(choose, tasks_data, limit, patience)
    if judges is not None:
        if until is not None:
            raise UserError("--until, --choose: give one of them")
        if resolved.training.evaluations is not None:
            raise UserError("training.evaluations, --choose: give one of them, since both evaluate the checkpoints")
        resolved = choosing.keeping_all(resolved)
    if tuned.path.resolve() == base.path.resolve():
        raise UserError(f"--run {tuned.path}: the run that fine-tuning begins with; expected another directory")
    if base.path.resolve() in tuned.path.resolve().parents:
        raise UserError(
            f"--run {tuned.path}: within {base.path}, which fine-tuning begins with; expected another place"
        )
    if not tuned.begun:
        sense.check(resolved)
    steps = resolved.training.steps
    if until is not None and not 1 <= until <= steps:
        raise UserError(f"--until {until}: expected 1 to training.steps, {steps}")
    check_devices(resolved, resolved.mesh.devices)
    training.check_weights(tuned, resolved)
    with tuned.locked():
        training.check(tuned, resolved)
        tokens.build_tokens(tuned, resolved, say)
        if judges is None:
            finished = training.train(tuned, resolved, until or steps, say)
        else:
            finished = choosing.train(tuned, resolved, judges, say)
        if finished:
            sampling.write_samples(tuned, say)
        else:
            signals.ignore_interrupts()
        report.write_report(tuned, say)
    answer_summary(tuned, as_json)


def _names(text: str) -> list[str]:
    """Returns the names in a text with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _judges(choose: str | None, data: Path | None, limit: int | None, patience: int | None) -> "Judges | None":
    """Returns what chooses the checkpoint, or None if nothing does; raises UserError for options that lack another."""
    if choose is None:
        for option, value in (("--tasks-data", data), ("--limit", limit), ("--patience", patience)):
            if value is not None:
                raise UserError(f"{option} {value}: is for a choice by tasks; add --choose TASK")
        return None
    from palmetto.evaluation import registry
    from palmetto.evaluation.settings import Settings
    from palmetto.evaluation.tasks import toxicity
    from palmetto.evaluation.tasks.task import AS_THEY_ARE
    from palmetto.workflow.choosing import Judges

    names = _names(choose)
    if not names or data is None:
        raise UserError(f"--choose {choose}: expected names of tasks, and --tasks-data FOLDER")
    try:
        chosen = registry.choose(names, data)
    except UserError as error:
        raise UserError(f"--choose, --tasks-data: {error}") from None
    for name in names:
        if name not in registry.TASKS and name not in registry.GROUPS:
            raise UserError(f"--choose {name}: a suite or a file; expected names of tasks or groups")
    for task in chosen.tasks:
        if task.metric in AS_THEY_ARE or task.name in toxicity.NAMES:
            raise UserError(
                f"--choose {task.name}: its {task.metric} is no score from 0 to 100, the higher the better; expected "
                "other tasks"
            )
    return Judges(names, data, Settings(None, 0, limit), patience)
