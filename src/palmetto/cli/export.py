"""`palmetto export`."""

import math
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palmetto.cli.common import Directory, Json, answer, path, say, text_path
from palmetto.cli.runs import existing
from palmetto.errors import UserError

if TYPE_CHECKING:
    from palmetto.interop.peer import Runtime


class Target(StrEnum):
    """Names the formats that a run is exported to."""

    huggingface = "huggingface"
    safetensors = "safetensors"
    gguf = "gguf"
    ctranslate2 = "ctranslate2"


class Dtype(StrEnum):
    """Names the types that weights are written in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


def export(
    directory: Directory,
    to: Annotated[Target, typer.Option(help="The format.")],
    out: Annotated[
        str,
        typer.Option(parser=text_path, metavar="DIR", help="The folder or address to write; an export is replaced."),
    ],
    step: Annotated[int | None, typer.Option(help="The checkpoint's step; by default the newest.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="The type of the weights.")] = Dtype.float32,
    check: Annotated[bool, typer.Option("--check", help="Compare it with the runtime that it is for.")] = False,
    peer_environment: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="DIR", help="The virtual environment of the runtime, made if it is absent."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint in another program's format. Exit 1 if --check finds that it differs there."""
    from palmetto.workflow import entering

    run = existing(directory)
    entering.enter_to_read(run, say)
    from palmetto.interop import peer, remote
    from palmetto.interop.export import check_type, export

    if peer_environment is not None and not check:
        raise UserError("--peer-environment: without --check; give both, or neither")
    check_type(to, dtype)
    runtime = peer.RUNTIMES.get(to) if check else None
    python = runtime and peer.environment(runtime, peer_environment, say)
    if check and python is None:
        say(f"--check: logits, greedy text and ids were not compared: {_missing(runtime)}")
    with remote.target(out) as folder:
        exported = export(run, to, folder, step, dtype, python)
    say(f"exported step {exported.step}")
    checked = exported.checked
    parts = None if checked is None else checked._asdict() | {"logits": _number(checked.logits)}
    values = {"target": str(to), "files": exported.files, "checked": {k: parts and parts[k] for k in _CHECKED}}
    lines = [os.path.join(out, name) for name in exported.files]
    if checked is not None:
        lines.append(
            f"{checked.versions}: logits differ by {checked.logits:.3g} at most, and may by {checked.allowed:.3g} "
            f"(the largest: {checked.largest:.3g}); greedy text {_same(checked.greedy)}, ids {_same(checked.ids)}"
        )
    answer(values, "\n".join(lines), as_json)
    if checked is not None and not checked.holds:
        raise typer.Exit(1)


_CHECKED = ("logits", "greedy", "ids")


def _number(difference: float) -> float | None:
    """Returns the difference as JSON can have it: None for one that is no number, as between logits that overflow."""
    return difference if math.isfinite(difference) else None


def _missing(runtime: "Runtime | None") -> str:
    if runtime is None:
        return "no other program computes with Palmetto's own weights"
    return f"give --peer-environment DIR, an environment with {', '.join(runtime.packages)}"


def _same(same: bool | None) -> str:
    if same is None:
        return "not compared"
    return "the same" if same else "not the same"
