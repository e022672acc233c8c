"""The command line: one thin function a command. Heavy modules are imported where they are used."""

from typing import Annotated

import typer

from palmetto import __version__
from palmetto.cli import corpus, drills, ending, planning, tokenizer, trained, training

app = typer.Typer(
    name="palmetto",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(corpus.app, name="corpus")
app.command()(training.run)
app.command()(training.train)
app.command()(trained.verify)
app.command()(trained.digest)
app.command()(trained.generate)
app.command(name="long-context")(trained.long_context)
app.command()(training.sweep)
app.command()(planning.plan)
app.command()(trained.report)
app.command()(drills.drill)
app.command(name="recipes")(planning.list_recipes)


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
