"""`palmetto train`."""

from typing import Annotated

import typer

from palmetto.cli.common import Json, Overrides, RecipeName, RunOption, quiet_libraries, say
from palmetto.cli.runs import answer_summary, check_devices, prepare
from palmetto.errors import UserError
from palmetto.host import signals


def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    run: RunOption = None,
    until: Annotated[int | None, typer.Option(metavar="STEP", help="Stop after this step.")] = None,
    pods: Annotated[
        bool, typer.Option("--pods", help="Run each pod as its own process; training survives the loss of one.")
    ] = False,
    patience: Annotated[
        float | None, typer.Option(min=1, help="Seconds of silence after which a pod counts as lost; 20 by default.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes on this machine that share the mesh.")] = 1,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Join the cluster that Slurm, Open MPI or Kubernetes describes.")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Join the cluster whose first process listens there.")
    ] = None,
    process_count: Annotated[int | None, typer.Option(min=1, help="Number of processes in that cluster.")] = None,
    process_index: Annotated[int | None, typer.Option(min=0, help="Index of this process in it, from 0.")] = None,
    stopped_exit: Annotated[
        int, typer.Option(min=0, max=255, help="Exit code when a signal stops training before its end.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Train, starting from what the run directory holds. Missing tokens are built first."""
    from palmetto.host import launch
    from palmetto.pods import limits
    from palmetto.workflow import tokens, training

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
            finished = training.train_in_cluster(directory, resolved, until or steps, say, cluster)
        from palmetto.parallel.processes import is_primary

        answers = is_primary()
    else:
        answers = True
        check_devices(resolved, resolved.mesh.devices // resolved.mesh.pod if pods else resolved.mesh.devices)
        if not pods:  # whose processes check it
            training.check_weights(directory, resolved)
        with directory.locked():
            training.check(directory, resolved)
            tokens.build_tokens(directory, resolved, say)
            finished = training.train(
                directory, resolved, until or steps, say, (patience or limits.PATIENCE) if pods else None
            )
    if not finished:
        signals.ignore_interrupts()
    if answers:
        answer_summary(directory, as_json)
    raise typer.Exit(0 if finished else stopped_exit)
