"""`palmetto generate`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palmetto.cli.common import (
    Directory,
    DraftOption,
    Json,
    LookupOption,
    Overrides,
    WeightsOption,
    answer,
    path,
    say,
    text_path,
)
from palmetto.cli.runs import existing
from palmetto.errors import UserError
from palmetto.files import text_bytes

if TYPE_CHECKING:
    from palmetto.decoding.continuing import Continued, Continuing, Wish


def generate(
    directory: Directory,
    overrides: Overrides = None,
    prompt: Annotated[str, typer.Option(help="The text to continue.")] = "",
    prompt_file: Annotated[
        str | None,
        typer.Option(parser=text_path, metavar="FILE", help="A file that holds the text; - is standard input."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(parser=path, metavar="FILE", help='A file with a line {"prompt": …} for each text.')
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="The most tokens to generate.")] = 64,
    temperature: Annotated[
        float | None, typer.Option(help="The sampling temperature; 0 is greedy, 0.8 the default without --beams.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from the k likeliest tokens only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the likeliest tokens that reach this probability together.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="The same seed gives the same text.")] = 0,
    n: Annotated[int, typer.Option("--n", min=1, max=128, help="The number of continuations of each text.")] = 1,
    beams: Annotated[int, typer.Option(min=0, help="Search with this many beams instead of sampling.")] = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="A string before which the text ends; may be repeated.")
    ] = None,
    ban: Annotated[
        list[int] | None, typer.Option(min=0, metavar="ID", help="A token not to generate; may be repeated.")
    ] = None,
    force: Annotated[str, typer.Option(metavar="TEXT", help="The text that each continuation begins with.")] = "",
    json_schema: Annotated[
        str | None, typer.Option(metavar="JSON|FILE", help="A JSON schema that the text will match.")
    ] = None,
    regex: Annotated[str | None, typer.Option(help="A regular expression that the text will match.")] = None,
    logprobs: Annotated[
        int, typer.Option(min=0, max=20, help="With --json: the likeliest tokens to report at each position.")
    ] = 0,
    draft: DraftOption = None,
    lookup: LookupOption = False,
    step: Annotated[int | None, typer.Option(help="The checkpoint's step; by default the newest.")] = None,
    weights: WeightsOption = None,
    interactive: Annotated[bool, typer.Option("--interactive", help="Continue each line of standard input.")] = False,
    as_json: Json = False,
) -> None:
    """Continue texts with a checkpoint. Overrides: model.positions, model.attention, mesh.model, mesh.data."""
    from palmetto.workflow import entering

    run, smaller = existing(directory), existing(draft) if draft else None
    given = [
        name
        for name, value in (
            ("--prompt", prompt),
            ("--prompt-file", prompt_file),
            ("--prompts", prompts),
            ("--interactive", interactive),
        )
        if value
    ]
    if len(given) > 1:
        raise UserError(f"{', '.join(given)}: give one of them")
    if json_schema is not None and regex is not None:
        raise UserError("--json-schema, --regex: give one of them")
    if "" in (stop or ()):
        raise UserError("--stop '': expected a string that is not empty")
    if logprobs and not as_json:
        raise UserError(f"--logprobs {logprobs}: expected beside --json, which shows them")
    texts = _texts(prompts) if prompts else [_text(prompt_file) if prompt_file else prompt]
    schema: Any = _schema(json_schema) if json_schema is not None else None
    entering.enter_to_read(run, say, overrides or ())
    from palmetto.decoding.continuing import Continuing, Wish
    from palmetto.decoding.drafting import Drafting
    from palmetto.decoding.generate import ROWS
    from palmetto.decoding.grammar import Grammars
    from palmetto.decoding.sampling import Sampling
    from palmetto.decoding.trained import TrainedModel

    usual = 0.0 if beams else 0.8
    sampling = Sampling(usual if temperature is None else temperature, top_k, top_p, banned=tuple(ban or ())).check()
    if beams and (sampling != Sampling() or force):
        others = "--temperature, --top-k, --top-p, --ban and --force"
        raise UserError(f"--beams {beams}: expected without {others}, which beams do not take")
    if beams and (json_schema is not None or regex is not None):
        raise UserError(f"--beams {beams}: expected without --json-schema and --regex")
    if beams and not n <= beams <= ROWS:
        raise UserError(f"--beams {beams}: expected {n}, which --n asks for, to {ROWS}")
    trained = TrainedModel(run, overrides or (), step, weights)
    continuing = Continuing(trained, say, Drafting(smaller, lookup))
    sampling = sampling._replace(forced=tuple(trained.vocabulary.encode(force).tolist()))
    constraint = None
    if json_schema is not None or regex is not None:
        grammars = Grammars(trained.vocabulary, continuing.pieces)
        try:
            constraint = grammars.regex(regex) if regex is not None else grammars.json_schema(schema)
        except UserError as error:
            raise UserError(f"--{'json-schema' if regex is None else 'regex'}: {error}") from None
    wish = Wish(tokens, sampling, seed, n, beams, tuple(stop or ()), logprobs, constraint)
    if interactive:
        for line in _lines():
            _show(continuing, [line], wish, as_json, many=True)
    elif not _show(continuing, texts, wish, as_json, many=prompts is not None or n > 1):
        raise typer.Exit(1)


def _show(continuing: "Continuing", texts: list[str], wish: "Wish", as_json: bool, many: bool) -> bool:
    """Prints the continuations; a single one as it is made. many: JSON is a line for each, without indentation.

    Returns whether all are what was asked for; it says which are not.
    """
    from palmetto.decoding.choices import BROKEN

    broken = list[str]()
    single = not as_json and len(texts) == wish.choices == 1
    unwritten = [texts[0]] if single else []  # the text, until it is known that it can be continued

    def hear(text: str) -> None:
        if single:
            _write("".join(unwritten) + text)
            unwritten.clear()

    for number, continued in enumerate(_named(continuing.run(texts, wish, hear))):
        for choice, one in enumerate(continued):
            if as_json and many:
                _write(json.dumps(_values(texts[number], one, wish.top)) + "\n")
            elif as_json:
                answer(_values(texts[number], one, wish.top), "", as_json)
            elif not single:
                _write(f"───── text {number + 1}, continuation {choice + 1}\n{texts[number]}{one.text}\n")
            if one.finish in BROKEN:
                broken.append(f"text {number + 1}, continuation {choice + 1}: {BROKEN[one.finish]}")
    if single:
        _write("\n")
    for problem in broken:
        say(problem)
    return not broken


def _named(continued: "Iterator[list[Continued]]") -> "Iterator[list[Continued]]":
    """Yields the continuations; raises UserError that names the option of what the engine refuses."""
    from palmetto.decoding.refusal import Refused

    try:
        yield from continued
    except Refused as error:
        option = {"choices": "n", "banned": "ban", "forced": "force"}.get(error.field, error.field)
        raise UserError(f"--{option}: {error.reason}") from None


def _values(prompt: str, continued: "Continued", top: int) -> dict[str, Any]:
    """Returns a continuation as JSON. tokens: the generated ids; logprobs: one number for each.

    finish: why it ends, only if it is not what was asked for. top: the likeliest tokens, only if they were asked for.
    """
    from palmetto.decoding.choices import BROKEN

    tokens = continued.tokens
    values: dict[str, Any] = {
        "prompt": prompt,
        "text": continued.text,
        "tokens": [token.id for token in tokens],
        "logprobs": [token.logprob for token in tokens],
    }
    if continued.finish in BROKEN:
        values["finish"] = continued.finish
    if top:
        values["top"] = [[list(pair) for pair in token.top] for token in tokens]
    return values


def _write(text: str) -> None:
    sys.stdout.buffer.write(text_bytes(text))
    sys.stdout.flush()


def _lines() -> Iterator[str]:
    """Yields the lines that a person types, until the input ends."""
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.buffer.readline()
        if not line:
            print(file=sys.stderr)
            return
        yield line.removesuffix(b"\n").decode(errors="surrogateescape")


def _text(file: str) -> str:
    data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return data.decode(errors="surrogateescape")


def _texts(file: Path) -> list[str]:
    """Returns the prompts of a file of JSON lines."""
    texts = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
            raise UserError(f'--prompts {file}: line {number} is not {{"prompt": "…"}}')
        texts.append(value["prompt"])
    return texts


def _schema(given: str) -> Any:
    """Returns a JSON schema that is given as JSON, or as a file of it."""
    if not given:
        raise UserError("--json-schema '': expected a JSON schema, or a file of one")
    data = given if given.lstrip().startswith("{") else Path(text_path(given)).read_bytes()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--json-schema {given}: not JSON ({error})") from None
