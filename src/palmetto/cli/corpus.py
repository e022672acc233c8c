"""`palmetto corpus`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from palmetto.cli.common import Json, Overrides, RecipeName, answer, path, say, text_path

app = typer.Typer(help="Build a training mixture from raw files.", no_args_is_help=True)
quality = typer.Typer(help="Train and apply a classifier that tells curated text from other.", no_args_is_help=True)
app.add_typer(quality, name="quality")

Classifier = Annotated[
    Path, typer.Argument(metavar="FILE", parser=path, help="A classifier written by `quality train`.")
]
Curated = Annotated[
    list[str],
    typer.Option(
        parser=text_path, metavar="PATH", help="A file or folder of curated text; repeat the option for several."
    ),
]
Fields = Annotated[list[str] | None, typer.Option(help="The field of a record that holds its text; `text` by default.")]
Other = Annotated[
    list[str],
    typer.Option(
        parser=text_path, metavar="PATH", help="A file or folder of other text; repeat the option for several."
    ),
]


@app.command()
def build(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="DIR", help="The corpus's directory; by default corpora/RECIPE.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where tasks run: on this machine, or on a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of tasks at a time; by default one for each core.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn sources into clean, weighted documents with a datasheet. A stage that is already done is skipped."""
    from palmetto.recipe import loading, sense
    from palmetto.workflow import corpus as corpora

    resolved = loading.load(recipe, overrides or ())
    if out is None:
        sense.check_name(resolved.name, "--out")
    sense.check(resolved)
    directory = out or Path("corpora") / resolved.name
    manifest = corpora.build(resolved, directory, say, engine, workers)
    answer(manifest, corpora.describe(manifest), as_json)


@quality.command("train")
def quality_train(
    curated: Curated,
    other: Other,
    out: Annotated[Path, typer.Option(parser=path, metavar="FILE", help="Where to write the classifier.")],
    text: Fields = None,
    as_json: Json = False,
) -> None:
    """Train a classifier on nine tenths of the documents. The last tenth is held out for `report`."""
    from palmetto.corpus import extras
    from palmetto.corpus.quality import training

    extras.check()
    classifier = training.train(curated, other, out, say, text or training.FIELDS)
    answer({"classifier": str(out), **classifier.trained}, f"{out}: trained", as_json)


@quality.command("score")
def quality_score(
    file: Classifier,
    source: Annotated[str, typer.Argument(metavar="PATH", parser=text_path, help="A file or folder of documents.")],
    text: Fields = None,
    as_json: Json = False,
) -> None:
    """Print the score, from 0 to 1, and the name of every document."""
    from palmetto.corpus import extras
    from palmetto.corpus.quality import training

    extras.check()
    scores = training.score(file, source, say, text or training.FIELDS)
    rows = [{"name": name, "score": score} for name, score in scores]
    answer(rows, "\n".join(f"{row['score']:.4f} {row['name']}" for row in rows), as_json)


@quality.command("report")
def quality_report(
    file: Classifier,
    curated: Curated,
    other: Other,
    out: Annotated[
        Path,
        typer.Option(parser=path, metavar="DIR", help="The folder for quality.html, .json and .png."),
    ],
    alpha: Annotated[float, typer.Option(help="The shape of the Pareto distribution that sampling draws from.")] = 9.0,
    text: Fields = None,
    as_json: Json = False,
) -> None:
    """Measure how well a classifier separates held-out documents: curves, histograms, extreme examples."""
    from palmetto.corpus import extras
    from palmetto.corpus.quality import page, training
    from palmetto.corpus.quality.evaluation import evaluate

    extras.check()
    evaluation = evaluate(file, curated, other, say, text or training.FIELDS)
    page.write(evaluation, alpha, out)
    values = page.values(evaluation)
    told = (
        f"{out / 'quality.html'}: area under the ROC curve {values['area_under_roc']:.4f}, "
        f"average precision {values['average_precision']:.4f}"
    )
    answer(values, told, as_json)
