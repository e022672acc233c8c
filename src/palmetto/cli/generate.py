"""`palmetto generate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Directory, Json, Overrides, answer, say, text_path
from palmetto.cli.runs import existing
from palmetto.errors import UserError


def generate(
    directory: Directory,
    overrides: Overrides = None,
    prompt: Annotated[str, typer.Option(help="The text to continue.")] = "",
    prompt_file: Annotated[
        str | None,
        typer.Option(parser=text_path, metavar="FILE", help="A file that holds the text; - is standard input."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="The most tokens to generate.")] = 64,
    temperature: Annotated[float, typer.Option(help="The sampling temperature; 0 is greedy.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Sample from the k likeliest tokens only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the likeliest tokens that reach this probability together.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="The same seed gives the same text.")] = 0,
    as_json: Json = False,
) -> None:
    """Continue a prompt with the newest checkpoint. Overrides: model.positions, model.attention, mesh.model."""
    from palmetto.workflow import entering

    run = existing(directory)
    if prompt_file is not None:
        if prompt:
            raise UserError("--prompt, --prompt-file: give one of them")
        data = sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
        prompt = data.decode(errors="surrogateescape")
    entering.enter_to_read(run, say, overrides or ())
    from palmetto.decoding.sampling import Sampling
    from palmetto.decoding.trained import TrainedModel

    sampling = Sampling(temperature, top_k, top_p).check()
    text = TrainedModel(run, overrides or ()).go_on(prompt, tokens, sampling, seed, say)
    answer({"prompt": prompt, "text": text}, prompt + text, as_json)
