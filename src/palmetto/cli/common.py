"""Arguments that several commands take, and the ways in which commands write."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from palmetto.files import text_bytes


def path(text: str) -> Path:
    """Parses a path from the command line: a leading ~ is the home directory. An empty path is refused."""
    return Path(text_path(text))


def text_path(text: str) -> str:
    """Parses an argument that may be a path, an address or a name; a leading ~ is the home directory."""
    if not text:
        raise typer.BadParameter("expected a path, found nothing; the working directory is .")
    return os.path.expanduser(text)


RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A shipped recipe (`palmetto recipes` lists them) or a YAML file.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY.PATH=VALUE", help="Values of the recipe to change.")
]
RunOption = Annotated[
    Path | None, typer.Option("--run", parser=path, metavar="DIR", help="The run directory; by default runs/RECIPE.")
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source", parser=text_path, metavar="PATH", help="A file or folder of text, instead of the recipe's."
    ),
]
Directory = Annotated[Path, typer.Argument(metavar="DIR", parser=path, help="A run directory.")]
DraftOption = Annotated[
    Path | None,
    typer.Option("--draft", parser=path, metavar="DIR", help="A smaller run that guesses tokens; texts are the same."),
]
LookupOption = Annotated[
    bool, typer.Option("--lookup", help="Guess that a text goes on as where it stood before; texts are the same.")
]
WeightsOption = Annotated[
    Literal["float32", "bfloat16", "int8"] | None,
    typer.Option("--weights", help="The type to hold weights in; by default that of the activations."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(text: str) -> None:
    """Prints a line for a person to standard error."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Redirects standard output to standard error, for C++ libraries too."""
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(answers, 1)
        os.close(answers)


def answer(values: Any, text: str, as_json: bool) -> None:
    """Prints the command's answer to standard output: `text`, or `values` as JSON."""
    shown = json.dumps(values, indent=2, ensure_ascii=True) if as_json else text
    sys.stdout.buffer.write(text_bytes(shown) + b"\n")
    sys.stdout.flush()
