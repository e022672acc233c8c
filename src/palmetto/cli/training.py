"""The commands that train: `palmetto run`, `train` and `sweep`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Json, Overrides, RecipeName, RunOption, SourceOption, answer, path, quiet_libraries, say
from palmetto.cli.runs import answer_summary, check_devices, prepare
from palmetto.errors import UserError
from palmetto.host import signals


def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    source: SourceOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """Every stage: vocabulary, tokens, training, samples, report; each skipped when it is done already."""
    from palmetto.workflow import stages

    resolved, directory = prepare(recipe, overrides, source, run)
    check_devices(resolved, resolved.mesh.devices)
    with directory.locked():
        stages.check(directory, resolved)
        stages.build_tokens(directory, resolved, say)
        finished = stages.train(directory, resolved, resolved.training.steps, say)
        if finished:
            stages.write_samples(directory, say)
        else:
            signals.ignore_interrupts()
        stages.write_report(directory, say)
    answer_summary(directory, as_json)
    if finished and not as_json:
        us = sys.argv[0] if Path(sys.argv[0]).name != "__main__.py" else f"{sys.executable} -m palmetto"
        following = [f"generate {directory.path} --prompt 'def '", f"report {directory.path}"]
        if source is None:  # else this may be runs/mine
            following.append(f"run {recipe} --source PATH --run runs/mine")
        print("\nNext:", *(f"  {us} {command}" for command in following), sep="\n")


def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    run: RunOption = None,
    until: Annotated[int | None, typer.Option(metavar="STEP", help="Stop after this step.")] = None,
    pods: Annotated[
        bool, typer.Option("--pods", help="Run each pod as its own process; losing one does not stop training.")
    ] = False,
    patience: Annotated[
        float | None, typer.Option(min=1, help="Seconds of silence after which a pod is lost, by default 20.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes on this machine that share the mesh.")] = 1,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Join the cluster that Slurm, Open MPI or Kubernetes describes.")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Join the cluster whose first process listens there.")
    ] = None,
    process_count: Annotated[int | None, typer.Option(min=1, help="Processes in that cluster.")] = None,
    process_index: Annotated[int | None, typer.Option(min=0, help="Which of them this is, from 0.")] = None,
    stopped_exit: Annotated[
        int, typer.Option(min=0, max=255, help="Exit code if a signal stops training before its end.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Train, going on from what the directory holds; builds missing tokens first."""
    from palmetto.host import launch
    from palmetto.pods import limits
    from palmetto.workflow import stages

    resolved, directory = prepare(recipe, overrides, None, run)
    steps = resolved.training.steps
    if until is not None and not 1 <= until <= steps:
        raise UserError(f"--until {until}: expected 1 to training.steps, {steps}")
    cluster = launch.place(processes, distributed, coordinator, process_count, process_index)
    if pods:
        if cluster or processes > 1:
            raise UserError("--pods: starts its own processes; drop --processes and --distributed")
        limits.check(resolved)
    elif patience is not None:
        raise UserError(f"--patience {patience:g}: is for pods; add --pods")
    if cluster is None and processes > 1:
        launch.check(processes, resolved.mesh.devices)
        raise typer.Exit(launch.launch(processes, launch.this_command(), fine={0, stopped_exit}))
    if cluster:
        with quiet_libraries():
            finished = stages.train_in_cluster(directory, resolved, until or steps, say, cluster)
        from palmetto.parallel.processes import is_primary

        answers = is_primary()
    else:
        answers = True
        check_devices(resolved, resolved.mesh.devices // resolved.mesh.pod if pods else resolved.mesh.devices)
        with directory.locked():
            stages.check(directory, resolved)
            stages.build_tokens(directory, resolved, say)
            finished = stages.train(
                directory, resolved, until or steps, say, (patience or limits.PATIENCE) if pods else None
            )
    if not finished:
        signals.ignore_interrupts()
    if answers:
        answer_summary(directory, as_json)
    raise typer.Exit(0 if finished else stopped_exit)


def sweep(
    recipe: RecipeName,
    axes: Annotated[list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE,VALUE]...", help="What to try.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train every choice with so many seeds, from 0.")] = 3,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="DIR", help="The sweep's directory; by default sweeps/RECIPE.")
    ] = None,
    source: SourceOption = None,
    as_json: Json = False,
) -> None:
    """Train all combinations of choices and seeds, and compare them; exit 0 if every run finished, 1 if not."""
    from palmetto.sweeps import page as results
    from palmetto.sweeps import runs as sweeps

    planned = sweeps.plan(recipe, axes or [], seeds, source, out)
    done = sweeps.run(planned, say)
    say(f"report: {planned.out / 'sweep.html'}")
    answer(results.values(done), results.markdown(done), as_json)
    if done.failed:
        raise typer.Exit(1)
