"""The command line: each command has a file of its own, and imports heavy modules only when it runs."""

from typing import Annotated

import typer

from palmetto import __version__
from palmetto.cli import ending
from palmetto.cli.compare import compare
from palmetto.cli.contamination import contamination
from palmetto.cli.cooccurrence import cooccurrence
from palmetto.cli.corpus import app as corpus
from palmetto.cli.digest import digest
from palmetto.cli.drill import drill
from palmetto.cli.eval import evaluate, tasks
from palmetto.cli.export import export
from palmetto.cli.finetune import finetune
from palmetto.cli.generate import generate
from palmetto.cli.import_ import import_
from palmetto.cli.ladder import ladder
from palmetto.cli.lm_eval import lm_eval
from palmetto.cli.long_context import long_context
from palmetto.cli.memorization import memorization
from palmetto.cli.plan import plan
from palmetto.cli.recipes import recipes
from palmetto.cli.report import report
from palmetto.cli.run import run
from palmetto.cli.scaling import scaling
from palmetto.cli.serve import serve
from palmetto.cli.sweep import sweep
from palmetto.cli.tokenizer import app as tokenizer
from palmetto.cli.train import train
from palmetto.cli.verify import verify

app = typer.Typer(
    name="palmetto",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(tokenizer, name="tokenizer")
app.add_typer(corpus, name="corpus")
for command in (
    run,
    train,
    finetune,
    verify,
    digest,
    generate,
    serve,
    export,
    long_context,
    memorization,
    sweep,
    ladder,
    scaling,
    plan,
    report,
    drill,
    recipes,
    compare,
    contamination,
    cooccurrence,
    tasks,
):
    app.command()(command)
app.command(name="eval")(evaluate)
app.command(name="lm-eval", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(lm_eval)
app.command(name="import")(import_)


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 ran and the answer is no, 2 bad input, 130 interrupted."""
    ending.run(app)


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
