"""The command line: one thin function a command. Heavy modules are imported where they are used."""

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from palmetto import __version__, streams
from palmetto.cli import corpus, tokenizer
from palmetto.cli.common import (
    Directory,
    Json,
    Mesh,
    Overrides,
    RecipeName,
    RunOption,
    SourceOption,
    answer,
    path,
    quiet_libraries,
    say,
)
from palmetto.cli.runs import answer_summary, check_devices, existing, prepare
from palmetto.errors import RunStopped, UserError

app = typer.Typer(
    name="palmetto",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(corpus.app, name="corpus")


_INTERRUPTED = 130
"""Typer's exit code for Ctrl-C, which is a shell's."""


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 ran and the answer is no, 2 bad input, 130 interrupted."""
    streams.settle()
    sys.unraisablehook = _end_if_interrupted
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        code = app(standalone_mode=False) or 0
        if code != _INTERRUPTED:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: there is nothing left to interrupt
            sys.exit(code)
        line = "interrupted"
    except RunStopped as error:
        code, line = 1, str(error)
    except UserError as error:
        code, line = 2, str(error)
    except typer.TyperException as error:
        code, line = 2, error.format_message()
    except OSError as error:
        code, line = 2, f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except SystemExit:
        raise
    except KeyboardInterrupt:
        code, line = _INTERRUPTED, "interrupted"
    except BaseException:
        traceback.print_exc()
        code, line = 1, ""
    _end(code, line)


def _end(code: int, line: str) -> NoReturn:
    """Ends this process with a last line, unless that is empty, and at once: threads that still write would add their
    tracebacks to it, and JAX would wait for a cluster's other processes."""
    if line:
        print(f"palmetto: {' '.join(line.split())}", file=sys.stderr, flush=True)
    os._exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, but not while a module is imported: its C++ would print it and fail in another way.

    Then the signal comes again a moment later, to whoever hears it by then.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(0.05, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _end_if_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    """Ends this process where Ctrl-C comes in a callback, out of which Python lets no error."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _end(_INTERRUPTED, "interrupted")
    sys.__unraisablehook__(unraisable)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"palmetto {__version__}")
        raise typer.Exit


@app.callback()
def palmetto(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Pretrain PaLM- and GLaM-style language models, from raw text to an evaluated model."""


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    source: SourceOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """Every stage: vocabulary, tokens, training, samples, report; each skipped when it is done already."""
    from palmetto import stages

    resolved, directory = prepare(recipe, overrides, source, run)
    check_devices(resolved, resolved.mesh.devices)
    with directory.locked():
        stages.check(directory, resolved)
        stages.build_tokens(directory, resolved, say)
        finished = stages.train(directory, resolved, resolved.training.steps, say)
        if finished:
            stages.write_samples(directory, say)
        stages.write_report(directory, say)
    answer_summary(directory, as_json)
    if finished and not as_json:
        us = sys.argv[0] if Path(sys.argv[0]).name != "__main__.py" else f"{sys.executable} -m palmetto"
        run_path = directory.path
        print(f"\nNext:\n  {us} generate {run_path} --prompt 'def '\n  {us} report {run_path}\n"
              f"  {us} run {recipe} --source PATH --run runs/mine")  # fmt: skip


@app.command()
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
    from palmetto import launch, stages
    from palmetto.pods import PATIENCE
    from palmetto.pods import check as check_pods

    resolved, directory = prepare(recipe, overrides, None, run)
    steps = resolved.training.steps
    if until is not None and not 1 <= until <= steps:
        raise UserError(f"--until {until}: expected 1 to training.steps, {steps}")
    cluster = launch.place(processes, distributed, coordinator, process_count, process_index)
    if pods:
        if cluster or processes > 1:
            raise UserError("--pods: starts its own processes; drop --processes and --distributed")
        check_pods(resolved)
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
            finished = stages.train(directory, resolved, until or steps, say, (patience or PATIENCE) if pods else None)
    if answers:
        answer_summary(directory, as_json)
    raise typer.Exit(0 if finished else stopped_exit)


@app.command()
def verify(
    directory: Directory,
    overrides: Mesh = None,
    start: Annotated[int | None, typer.Option("--from", metavar="STEP", help="Replay from here …")] = None,
    end: Annotated[int | None, typer.Option("--to", metavar="STEP", help="… to here.")] = None,
    as_json: Json = False,
) -> None:
    """Replay the run and compare it bit for bit with its ledger; exit 0 if it matches, 1 if not."""
    from palmetto import recipes, stages

    run = existing(directory)
    replayed, difference = stages.verify(run, start, end, say, overrides or ())
    if difference is None:
        answer({"verified": True, "steps": replayed}, f"verified: {replayed} steps, bit for bit", as_json)
        return
    recipe = recipes.load(str(run.recipe_file), overrides or ())
    elsewhere = stages.elsewhere(run, recipe) if difference.is_of_bits else []
    text = f"{difference}; but this is another environment than the run's: {'; '.join(elsewhere)}" if elsewhere else ""
    answer({"verified": False, **difference._asdict(), "environment": elsewhere}, text or str(difference), as_json)
    raise typer.Exit(1)


@app.command()
def digest(
    directory: Directory,
    step: Annotated[int | None, typer.Option(help="Which checkpoint; by default the newest.")] = None,
    as_json: Json = False,
) -> None:
    """One SHA-256 of all parameters and one of the optimizer state."""
    from palmetto import stages

    run = existing(directory)
    stages.enter_to_read(run, say)
    from palmetto.decoding.trained import restore
    from palmetto.training.digest import form_of

    state, at, checkpoints = restore(run, step)
    parameters, optimizer = checkpoints.digests(state, form_of(checkpoints.sealed(at).parameters))
    values = {"step": at, "parameters": parameters, "optimizer": optimizer}
    answer(values, "\n".join(f"{key:10} {value}" for key, value in values.items()), as_json)


@app.command()
def generate(
    directory: Directory,
    overrides: Overrides = None,
    prompt: Annotated[str, typer.Option(help="The text to continue.")] = "",
    prompt_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file with that text; - is standard input.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="At most so many tokens.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Only the k likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Only the likeliest that reach this probability.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="The same seed gives the same text.")] = 0,
    as_json: Json = False,
) -> None:
    """Continue a prompt with the newest checkpoint; overrides: model.positions, model.attention, mesh.model."""
    from palmetto import stages

    run = existing(directory)
    if prompt_file is not None:
        if prompt:
            raise UserError("--prompt, --prompt-file: give one of them")
        data = sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
        prompt = data.decode(errors="surrogateescape")
    stages.enter_to_read(run, say, overrides or ())
    from palmetto.decoding.sampling import Sampling
    from palmetto.decoding.trained import TrainedModel

    sampling = Sampling(temperature, top_k, top_p).check()
    text = TrainedModel(run, overrides or ()).go_on(prompt, tokens, sampling, seed, say)
    answer({"prompt": prompt, "text": text}, prompt + text, as_json)


@app.command(name="long-context")
def long_context(
    directory: Directory,
    times: Annotated[int, typer.Option(min=2, help="How many times the trained length.")] = 4,
    sequences: Annotated[int, typer.Option(min=1, help="Stretches of held-out text, at most.")] = 64,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="DIR", help="Where to write it; by default the run directory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the newest checkpoint beyond its trained length, by each way there is: perplexity by position."""
    from palmetto import stages

    run = existing(directory)
    curves = stages.long_context(run, times, sequences, say)
    from palmetto.report import long_context

    trained = run.recipe.model_length
    long_context.write(curves, trained, out or run.path, run.path.resolve().name)
    answer(long_context.values(curves, trained), long_context.table(curves, trained), as_json)


@app.command()
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
    from palmetto import sweep as sweeps
    from palmetto.report import sweep as results

    done = sweeps.run(sweeps.plan(recipe, axes or [], seeds, source, out), say)
    answer(results.values(done), results.markdown(done), as_json)
    if done.failed:
        raise typer.Exit(1)


@app.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    topology: Annotated[
        str | None, typer.Option(help="Compile for these chips: v4:12x16x16, v6e:16x16, h100:64.")
    ] = None,
    slices: Annotated[int, typer.Option(help="So many slices (pods) of them.")] = 1,
    search: Annotated[bool, typer.Option("--search", help="Try layouts, and show the best few.")] = False,
    as_json: Json = False,
) -> None:
    """Parameters, FLOPs, memory, tokens and schedule of a recipe; with --topology its step on chips not here."""
    from palmetto import environment, recipes

    resolved = recipes.load(recipe, overrides or ())
    environment.prepare(resolved.training.threads)
    if topology is None:
        if slices != 1 or search:
            raise UserError(f"{'--search' if search else f'--slices {slices}'}: needs --topology")
        from palmetto import plan as planning

        values = planning.plan(resolved)
        answer(values, planning.describe(values), as_json)
        return
    from palmetto.planning import at_scale, describe
    from palmetto.planning import topology as topologies

    on = topologies.parse(topology, slices)
    if search:
        values = at_scale.search(resolved, on, say)
        answer(values, describe.describe_search(values), as_json)
        return
    values = at_scale.plan(resolved, on, say)
    answer(values, describe.describe(values), as_json)
    if not values["fits"]:
        raise RunStopped(describe.misfit(values))


@app.command()
def report(
    directory: Directory,
    out: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="DIR", help="Where to write it, or FILE.html; by default the run directory."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the run's report: one self-contained HTML page."""
    from palmetto import stages

    run = existing(directory)
    written = stages.write_report(run, say, out)
    answer({"report": str(written)}, str(written), as_json)


@app.command()
def drill(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="DRILL", help="nan, spike, kill, pod-loss, torn-checkpoint, full-disk or ledger-tamper."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Inject a fault into a small training and see whether the promise holds; exit 0 if it does, 1 if not, 3 if
    the machine is too busy to tell."""
    from palmetto import drills

    report = drills.run(name, say if as_json else lambda text: answer(None, text, as_json=False))
    if as_json:
        answer(report.values(), "", as_json)
    if report.broken:
        raise RunStopped(f"drill {name}: {report.broken}")
    if report.undecided:
        say(f"drill {name}: no verdict: {report.undecided}")
        raise typer.Exit(3)


@app.command(name="recipes")
def list_recipes(as_json: Json = False) -> None:
    """List the shipped recipes."""
    from palmetto import recipes

    names = recipes.names()
    answer(names, "\n".join(f"{name:16}{recipes.describe(name)}" for name in names), as_json)
