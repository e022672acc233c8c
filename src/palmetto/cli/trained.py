"""The commands on a run that is there: `palmetto verify`, `digest`, `generate`, `long-context` and `report`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Directory, Json, Mesh, Overrides, answer, path, say, text_path
from palmetto.cli.runs import existing
from palmetto.errors import UserError


def verify(
    directory: Directory,
    overrides: Mesh = None,
    start: Annotated[int | None, typer.Option("--from", metavar="STEP", help="Replay from here …")] = None,
    end: Annotated[int | None, typer.Option("--to", metavar="STEP", help="… to here.")] = None,
    as_json: Json = False,
) -> None:
    """Replay the run and compare it bit for bit with its ledger; exit 0 if it matches, 1 if not."""
    from palmetto.recipe import loading
    from palmetto.workflow import stages

    run = existing(directory)
    replayed, difference = stages.verify(run, start, end, say, overrides or ())
    if difference is None:
        answer({"verified": True, "steps": replayed}, f"verified: {replayed} steps, bit for bit", as_json)
        return
    recipe = loading.load(str(run.recipe_file), overrides or ())
    elsewhere = stages.elsewhere(run, recipe) if difference.is_of_bits else []
    text = f"{difference}; but this is another environment than the run's: {'; '.join(elsewhere)}" if elsewhere else ""
    answer({"verified": False, **difference._asdict(), "environment": elsewhere}, text or str(difference), as_json)
    raise typer.Exit(1)


def digest(
    directory: Directory,
    step: Annotated[int | None, typer.Option(help="Which checkpoint; by default the newest.")] = None,
    as_json: Json = False,
) -> None:
    """One SHA-256 of all parameters and one of the optimizer state."""
    from palmetto.workflow import stages

    run = existing(directory)
    stages.enter_to_read(run, say)
    from palmetto.decoding.trained import restore
    from palmetto.training.digest import form_of

    state, at, checkpoints = restore(run, step)
    parameters, optimizer = checkpoints.digests(state, form_of(checkpoints.sealed(at).parameters))
    values = {"step": at, "parameters": parameters, "optimizer": optimizer}
    answer(values, "\n".join(f"{key:10} {value}" for key, value in values.items()), as_json)


def generate(
    directory: Directory,
    overrides: Overrides = None,
    prompt: Annotated[str, typer.Option(help="The text to continue.")] = "",
    prompt_file: Annotated[
        str | None, typer.Option(parser=text_path, metavar="FILE", help="A file with that text; - is standard input.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="At most so many tokens.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Only the k likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Only the likeliest that reach this probability.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="The same seed gives the same text.")] = 0,
    as_json: Json = False,
) -> None:
    """Continue a prompt with the newest checkpoint; overrides: model.positions, model.attention, mesh.model."""
    from palmetto.workflow import stages

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
    from palmetto.workflow import stages

    run = existing(directory)
    curves = stages.long_context(run, times, sequences, say)
    from palmetto.evaluation import long_context_page as long_context

    trained, folder = run.recipe.model_length, out or run.path
    long_context.write(curves, trained, folder, run.path.resolve().name)
    say(f"perplexity by position, also in {folder / 'long-context.html'}:")
    answer(long_context.values(curves, trained), long_context.table(curves, trained), as_json)


def report(
    directory: Directory,
    out: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="DIR", help="Where to write it, or FILE.html; by default the run directory."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the run's report: one self-contained HTML page."""
    from palmetto.workflow import stages

    run = existing(directory)
    written = stages.write_report(run, say, out)
    answer({"report": str(written)}, str(written), as_json)
