"""`palmetto serve`."""

import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palmetto.cli import ending
from palmetto.cli.common import DraftOption, Json, LookupOption, WeightsOption, path, quiet_libraries, say
from palmetto.cli.runs import existing
from palmetto.errors import UserError
from palmetto.host.extras import MODULES, missing

if TYPE_CHECKING:
    from palmetto.runs.directory import RunDirectory

_OVERRIDE = re.compile(r"(mesh|model)\.[a-z_.]+=")


def serve(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="DIR… [KEY.PATH=VALUE…]", help="Run directories; each is a model of its name."),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on; by default this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 picks a free one.")] = 8000,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name by which clients address the server; may be repeated."),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(parser=path, metavar="FILE", help="A file with a key a line; clients must have one.")
    ] = None,
    chat_template: Annotated[
        Path | None, typer.Option(parser=path, metavar="FILE", help="A Jinja template that turns a chat into a text.")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="A run of adapters to serve beside its base; may be repeated."),
    ] = None,
    draft: DraftOption = None,
    lookup: LookupOption = False,
    rows: Annotated[int, typer.Option(min=1, help="The rows of a step; bits of answers may depend on them.")] = 64,
    longest: Annotated[int, typer.Option(min=2, help="The most tokens of a prompt and its continuation.")] = 2048,
    cache: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="The memory for keys and values, each model.")
    ] = 1024,
    queue: Annotated[int, typer.Option(min=1, help="The most choices that wait; more are refused with 429.")] = 256,
    max_prompt: Annotated[int, typer.Option(min=1, help="The most tokens of a prompt.")] = 1 << 20,
    max_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of an answer.")] = 1 << 16,
    max_body: Annotated[int, typer.Option(min=1, help="The most bytes of a request.")] = 4 << 20,
    timeout: Annotated[float, typer.Option(min=1, help="The most seconds of an answer, which ends there.")] = 600,
    drain: Annotated[float, typer.Option(min=1, help="The seconds for running answers after SIGTERM.")] = 30,
    weights: WeightsOption = None,
    as_json: Json = False,
) -> None:
    """Serve trained models over HTTP: OpenAI's API, a page for people at /. Overrides: as for generate."""
    for module in MODULES["serve"]:
        if importlib.util.find_spec(module) is None:
            raise missing(module, "serve")
    overrides = [argument for argument in arguments if _OVERRIDE.match(argument)]
    runs = _by_name([existing(path(argument)) for argument in arguments if argument not in overrides])
    adapters = find_adapters(adapter or [], runs)
    smaller = existing(draft) if draft else None
    keys = _keys(api_key_file) if api_key_file else ()
    template = _text(chat_template) if chat_template else None
    from palmetto.workflow import entering

    together = [*runs.values(), *(run for run, _ in adapters.values())]
    check_threads(together)
    for run in together:
        entering.enter_to_read(run, say, overrides)
    from palmetto.decoding.drafting import Drafting
    from palmetto.decoding.limits import Limits
    from palmetto.serving import server
    from palmetto.serving.settings import Settings
    from palmetto.workflow.progress import Watch

    limits = Limits(rows=rows, sequences=rows, longest=longest, memory=cache << 20).check()
    opened = server.listen(host, port)
    settings = Settings(
        queue=queue,
        prompt=max_prompt,
        body=max_body,
        tokens=max_tokens,
        seconds=timeout,
        drain=drain,
        keys=keys,
        template=template,
        hosts=server.hosts(opened, host, allowed_host or ()),
    )
    url = server.address(opened)

    def ready() -> None:
        for name in (*runs, *adapters):
            print(json.dumps({"url": url, "model": name}) if as_json else f"serving {name} at {url}", flush=True)

    say("loading checkpoints, and compiling all that requests can need")
    with quiet_libraries(), Watch() as watch:
        drafting = Drafting(smaller, lookup)
        models = server.load(runs, limits, settings, overrides, drafting, adapters, weights, watch.follow)
    server.run(models, opened, ready)
    ending.leave()


def _by_name(runs: "list[RunDirectory]") -> "dict[str, RunDirectory]":
    """Returns runs by the names of their directories; raises UserError if they cannot be served together."""
    from palmetto.recipe.section import is_unicode

    if not runs:
        raise UserError("expected a run directory, found none; `palmetto serve runs/quickstart` would do")
    if strange := [run for run in runs if not is_unicode(run.path.resolve().name)]:
        raise UserError(f"{str(strange[0].path)!a}: not UTF-8, and so no name of a model; expected another")
    named = {run.path.resolve().name: run for run in runs}
    if len(named) < len(runs):
        raise UserError(f"{' '.join(str(run.path) for run in runs)}: expected directories of different names")
    return named


def check_threads(runs: "list[RunDirectory]") -> None:
    """Raises UserError if runs need different numbers of threads, of which a process has one."""
    threads = {run.recipe.training.threads for run in runs}
    if len(threads) > 1:
        counts = ", ".join(map(str, sorted(threads)))
        raise UserError(f"training.threads is {counts}: runs served together need the same; serve each by itself")


def find_adapters(given: list[str], runs: "dict[str, RunDirectory]") -> "dict[str, tuple[RunDirectory, str]]":
    """Returns the runs of adapters, given as NAME=DIR, by name, each with the name of the served run that it adapts.

    That run may have newer checkpoints by now. Raises UserError if one is no run of adapters, or adapts no run that is
    served.
    """
    from palmetto.recipe.section import is_unicode

    found: dict[str, tuple[RunDirectory, str]] = {}
    newest = {name: run.newest_manifest for name, run in runs.items()}
    bases = {manifest.parameters: name for name, manifest in newest.items() if manifest is not None}
    places = {run.path.resolve(): name for name, run in runs.items()}
    for each in given:
        name, equals, directory = each.partition("=")
        if not equals or not name or name in runs or name in found or not is_unicode(name):
            raise UserError(f"--adapter {each!a}: expected NAME=DIR, with a name that no other model has")
        run = existing(path(directory))
        begun = run.recipe.finetuning
        if begun is None or run.recipe.model.lora is None:
            raise UserError(f"--adapter {each}: has no adapters; expected a run of `palmetto finetune --lora`")
        base = bases.get(begun.parameters) or places.get(Path(begun.base).resolve())
        if base is None:
            raise UserError(f"--adapter {each}: adapts step {begun.step} of {begun.base}, which is not served")
        if begun.parameters not in bases:
            say(f"--adapter {each}: adapts step {begun.step} of {begun.base}, and keeps the weights of that step")
        found[name] = run, base
    return found


def _keys(file: Path) -> tuple[str, ...]:
    keys = tuple(line.strip() for line in _text(file).splitlines() if line.strip())
    if not keys:
        raise UserError(f"--api-key-file {file}: no key in it; expected one a line")
    return keys


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{file}: expected text in UTF-8") from None
