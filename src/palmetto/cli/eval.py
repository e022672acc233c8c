"""`palmetto eval` and `palmetto tasks`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from palmetto.cli.common import Directory, Json, WeightsOption, answer, path, say
from palmetto.cli.runs import existing

Data = Annotated[
    Path, typer.Option("--data", parser=path, metavar="FOLDER", help="The folder with a folder for each set.")
]


def evaluate(
    directory: Directory,
    names: Annotated[str, typer.Option("--tasks", metavar="NAME,…", help="Tasks or groups (`palmetto tasks`).")],
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="DIR", help="The folder to write to; by default DIR/evaluation."),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(min=0, help="The number of examples in front of each question; by default the task's or suite's."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the choice of these examples.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="The number of first examples to evaluate.")] = None,
    beams: Annotated[int, typer.Option(min=0, help="Generate answers by a beam search this wide; 0 is greedy.")] = 0,
    samples: Annotated[int, typer.Option(min=0, help="Let this many sampled answers vote (self-consistency).")] = 0,
    scorer: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="The function that scores the toxicity of texts.")
    ] = "profanity_check:predict_prob",
    step: Annotated[int | None, typer.Option(min=0, help="The checkpoint to evaluate; by default the newest.")] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where requests are answered: here, or on a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of engines on the cluster; by default one for each node.")
    ] = None,
    unsafe_code: Annotated[
        bool, typer.Option("--unsafe-code", help="Run what the model writes even where the kernel cannot confine it.")
    ] = False,
    weights: WeightsOption = None,
    as_json: Json = False,
) -> None:
    """Evaluate a checkpoint on tasks. A killed evaluation goes on where it stopped, and gives the same files."""
    from palmetto.evaluation.settings import Settings
    from palmetto.workflow import evaluation
    from palmetto.workflow.progress import Watch

    run, wanted = existing(directory), [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise typer.BadParameter("expected names of tasks, as in boolq,copa", param_hint="--tasks")
    folder = out or run.evaluation
    settings = Settings(shots, seed, limit, beams, samples, unsafe_code).check()
    if workers is not None and engine == "local":
        raise typer.BadParameter("expected with --engine ray", param_hint="--workers")
    with Watch() as watch:
        done = evaluation.tasks(run, wanted, data, settings, step, folder, scorer, watch, engine, workers, weights)
    say(f"the page is {folder / 'page.html'}")
    answer(done.results, "\n".join([*_tasks(done.results["tasks"]), *_suites(done.results["suites"])]), as_json)


def tasks(data: Data, as_json: Json = False) -> None:
    """List the tasks: which are ready, and of the others which file is missing, in which format."""
    from palmetto.evaluation.registry import inventory

    rows = inventory(data)
    lines = (f"{row.name}  {'ready' if row.ready else _missing(row.missing)}" for row in rows)
    answer([{**row._asdict(), "missing": list(row.missing)} for row in rows], "\n".join(lines), as_json)
    say(f"{sum(row.ready for row in rows):,} of {len(rows):,} tasks, groups and suites are ready")


def _missing(formats: dict[str, str]) -> str:
    """Returns the first file that is missing, with its format, and how many more are."""
    path, form = next(iter(formats.items()))
    others = len(formats) - 1
    more = f"; and {others} more file{'s' * (others > 1)}" if others else ""
    return f"missing {path}: {form}{more}"


def _tasks(results: dict[str, Any]) -> Iterator[str]:
    from palmetto.report.scores import baseline

    width = max(map(len, results))
    for name, values in results.items():
        signature = f"  {values['signature']}" if "signature" in values else ""
        [(against, score)] = baseline(values).items()
        yield (
            f"{name:{width}}  {values['metric']:4}  {values['value']:6.2f}  {_interval(values)}  "
            f"{against} {score:.2f}  {values['count']:,} examples{signature}"
        )
        if missing := values.get("missing"):
            parts = len(values["parts"])
            yield f"  over {parts} of {parts + len(missing)} tasks; lacks {_some(missing)}"
        for kind, own in values.get("kinds", {}).items():
            yield f"  {kind}  {own['value']:.2f}  {_interval(own)}  {own['count']:,} examples"
        for metric, own in values.get("bias", {}).items():
            if metric != values["metric"]:
                yield f"  {metric}  {own['value']:.2f}  {_interval(own)}  neutral {own['neutral']:.2f}"


def _some(names: list[str]) -> str:
    """Returns the first names, and how many others there are."""
    others = len(names) - 3
    return ", ".join(names[:3]) + (f" and {others} more" if others > 0 else "")


def _suites(suites: dict[str, Any]) -> Iterator[str]:
    for name, suite in suites.items():
        for label, values in suite["figures"].items():
            yield f"{name} {label}  {values['value']:.2f}  {_interval(values)}  over {len(suite['tasks'])} tasks"
        if suite["missing"]:
            yield f"{name} lacks {', '.join(suite['missing'])}"


def _interval(values: dict[str, Any]) -> str:
    return f"[{values['interval'][0]:.2f}, {values['interval'][1]:.2f}]"
