"""What all commands share: their usual arguments, and how they answer."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from palmetto.files import text_bytes


def path(text: str) -> Path:
    """A path from the command line: ~ is home, wherever it stands behind an option's =. Nothing is no path."""
    return Path(text_path(text))


def text_path(text: str) -> str:
    """The same as text, for what may be an address or a name."""
    if not text:
        raise typer.BadParameter("expected a path, found nothing; the working directory is .")
    return os.path.expanduser(text)


RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A shipped one (see `palmetto recipes`) or a YAML file.")
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY.PATH=VALUE", help="Recipe values to change.")]
RunOption = Annotated[
    Path | None, typer.Option("--run", parser=path, metavar="DIR", help="The run directory; by default runs/RECIPE.")
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source", parser=text_path, metavar="PATH", help="A file or folder of text, in place of the recipe's."
    ),
]
Mesh = Annotated[list[str] | None, typer.Argument(metavar="mesh.AXIS=SIZE", help="Another mesh to replay it on.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", parser=path, help="A run directory.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(text: str) -> None:
    """A line for a person, on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Sends to standard error what anything, libraries in C++ too, writes to standard output meanwhile."""
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
    """The command's answer, on standard output: `text`, or `values` as JSON."""
    shown = json.dumps(values, indent=2, ensure_ascii=True) if as_json else text
    sys.stdout.buffer.write(text_bytes(shown) + b"\n")
    sys.stdout.flush()
