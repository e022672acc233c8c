"""Makes the engine's requests from a client's parameters."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from palmetto.decoding.request import PENALTY, Constraint, Request
from palmetto.decoding.sampling import SEEDS, Sampling
from palmetto.decoding.text import ended_by
from palmetto.errors import UserError
from palmetto.recipe.objectives import has_prefix
from palmetto.serving.aside import aside, in_thread
from palmetto.serving.errors import bad
from palmetto.serving.following import Prompt
from palmetto.serving.models import Served
from palmetto.serving.parameters import Format, Generation, JsonFormat, RegexFormat, SchemaFormat
from palmetto.serving.settings import Settings


class Wanted(NamedTuple):
    """Holds what completions and chats ask for in ways of their own."""

    tokens: int | None
    """The most tokens to generate; None for the usual number."""
    usual: int | None
    """The usual number, or fewer if they do not fit; None for as many as fit."""
    choices: int
    beams: int
    """The width of a beam search, 0 for none."""
    top: int | None
    """The number of alternatives to report; None if no log-probabilities are asked for."""
    names: Mapping[str, str]
    """The client's names of the engine's `prompt`, `tokens`, `choices` and `beams`."""
    echo: bool = False
    suffix: str | None = None


async def prompts_of(
    served: Served, settings: Settings, prompt: str | list[str] | list[int] | list[list[int]] | None
) -> list[Prompt]:
    """Returns the prompts of a completion. A text begins a document; ids are taken as they are."""
    if prompt is None:
        return [Prompt((), 1)]
    several: list[Any] = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else list(prompt)
    check_number(settings, len(several), 1, "prompt")  # which is found before they are encoded
    if not isinstance(several[0], str):
        return [_checked(served, ids) for ids in several]
    encoded = await aside(sum(map(len, several)), lambda: served.vocabulary.encode_all(several))
    return [Prompt(tuple(ids.tolist()), 1) for ids in encoded]


def check_number(settings: Settings, prompts: int, each: int, name: str) -> None:
    """Raises ApiError that names a parameter if prompts with `each` choices are too many to wait ever."""
    if prompts * each > settings.queue:
        raise bad(name, f"{prompts * each} choices of {prompts} prompts: expected at most {settings.queue}")


def _checked(served: Served, ids: list[int]) -> Prompt:
    size = served.vocabulary.size
    if wrong := next((id for id in ids if not 0 <= id < size), None):
        raise bad("prompt", f"{wrong}: expected ids from 0 to {size - 1}")
    return Prompt(tuple(ids), 0)


async def requests_of(
    served: Served,
    settings: Settings,
    asked: Generation,
    prompts: list[Prompt],
    wanted: Wanted,
    stops: Sequence[str],
) -> list[Request]:
    """Returns a request for each prompt; raises ApiError that names a parameter that cannot be met.

    With a seed, a prompt is answered as it would be alone; without, each prompt has a seed of its own.
    """
    scores = wanted.echo and wanted.top is not None
    objective = served.recipe.training.objective
    if scores and has_prefix(objective):
        raise bad(
            "echo", f"beside logprobs, expected false: the objective {objective.name} sees a prompt from both sides"
        )
    if asked.logprobs_mode is not None and wanted.top is None:
        raise bad("logprobs_mode", "expected only beside logprobs")
    _check_beams(served, asked, wanted)
    sampling = Sampling() if wanted.beams else _sampling(served, asked)
    constraint = await _constraint(served, asked.response_format)
    requests = []
    for prompt in prompts:
        ids, prefix = await _whole(served, prompt, wanted.suffix)
        requests.append(
            Request(
                ids,
                tokens=_tokens(served, settings, len(ids), wanted),
                sampling=sampling,
                seed=secrets.randbelow(SEEDS) if asked.seed is None else asked.seed % SEEDS,
                choices=wanted.choices,
                beams=wanted.beams,
                length_penalty=_or(asked.length_penalty, PENALTY),
                stop=frozenset(served.vocabulary.ends),
                ended=ended_by(stops, served.pieces) if wanted.beams else None,
                top=wanted.top or 0,
                processed=asked.logprobs_mode == "processed_logprobs",
                echo=scores,
                prefix=prefix,
                priority=-(asked.priority or 0),
                constraint=constraint,
            )
        )
    return requests


_REPLACED: dict[str, float | str | None] = {
    "temperature": 0,
    "top_k": None,
    "top_p": 1,
    "min_p": 0,
    "typical_p": 1,
    "repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": None,
    "banned_tokens": None,
    "forced_tokens": None,
    "response_format": None,
    "logprobs_mode": "raw_logprobs",
}
"""The parameters that a beam search replaces, and their values that change nothing."""


def _check_beams(served: Served, asked: Generation, wanted: Wanted) -> None:
    """Raises ApiError that names a parameter that does not go with a beam search, or without one."""
    if not wanted.beams:
        if asked.length_penalty is not None:
            raise bad("length_penalty", 'expected only beside "use_beam_search": true')
        return
    for name, unused in _REPLACED.items():
        if getattr(asked, name) not in (None, unused):
            raise bad(name, f"expected {'none' if unused is None else unused} beside use_beam_search")
    if wanted.beams > (most := served.limits.sequences):
        raise bad(wanted.names["beams"], f"{wanted.beams} beams: expected at most {most}")
    if wanted.tokens == 0:
        raise bad(wanted.names["tokens"], "0: expected at least 1 beside use_beam_search")


async def _whole(served: Served, prompt: Prompt, suffix: str | None) -> tuple[tuple[int, ...], int]:
    """Returns the ids of a prompt as the objective needs them, and the length of its prefix."""
    ids = [served.vocabulary.beginning] * prompt.hidden + list(prompt.ids)
    if suffix is None:
        made, prefix = served.prompts.of_ids(ids)
        return tuple(made.tolist()), prefix
    after = await aside(len(suffix), lambda: served.vocabulary.encode(suffix))
    infill = served.prompts.between(ids, after.tolist())
    if infill is None:
        raise bad("suffix", f"expected none: the objective {served.prompts.objective.name} fills no gaps")
    return tuple(infill[0].tolist()), infill[1]


def _tokens(served: Served, settings: Settings, prompt: int, wanted: Wanted) -> int:
    """Returns how many tokens to generate after a prompt of `prompt` tokens."""
    room = served.longest + 1 - prompt  # the last token needs no position, since nothing follows it
    if prompt > (most := min(settings.prompt, served.longest)):
        raise bad(wanted.names["prompt"], f"{prompt} tokens: expected at most {most}", "context_length_exceeded")
    if wanted.tokens is None:
        return min(room, settings.tokens, wanted.usual or room)
    if wanted.tokens > room:
        raise bad(
            wanted.names["tokens"],
            f"{wanted.tokens}: after a prompt of {prompt} tokens, expected at most {room}",
            "context_length_exceeded",
        )
    if wanted.tokens > settings.tokens:
        raise bad(wanted.names["tokens"], f"{wanted.tokens}: expected at most {settings.tokens}")
    return wanted.tokens


def _sampling(served: Served, asked: Generation) -> Sampling:
    bias = []
    for name, value in (asked.logit_bias or {}).items():
        id = int(name[:9]) if name.isascii() and name.isdecimal() else -1
        if str(id) != name or not 0 <= id < served.vocabulary.size:
            raise bad("logit_bias", f"{name[:20]!r}: expected ids from 0 to {served.vocabulary.size - 1}")
        bias.append((id, value))
    return Sampling(
        temperature=_or(asked.temperature, 1.0),
        top_k=asked.top_k,
        top_p=asked.top_p,
        min_p=asked.min_p,
        typical_p=asked.typical_p,
        repetition_penalty=_or(asked.repetition_penalty, 1.0),
        presence_penalty=_or(asked.presence_penalty, 0.0),
        frequency_penalty=_or(asked.frequency_penalty, 0.0),
        logit_bias=tuple(bias),
        banned=tuple(asked.banned_tokens or ()),
        forced=tuple(asked.forced_tokens or ()),
    )


def _or(value: float | None, usual: float) -> float:
    return usual if value is None else value


async def _constraint(served: Served, wanted: Format | None) -> Callable[[], Constraint] | None:
    """Returns what makes the constraint of a format. It is compiled in a thread, since that may take a while."""
    try:
        match wanted:
            case JsonFormat():
                return await in_thread(lambda: served.grammars.json_schema({"type": "object"}))
            case SchemaFormat():
                return await in_thread(lambda: served.grammars.json_schema(wanted.json_schema.schema_))
            case RegexFormat():
                return await in_thread(lambda: served.grammars.regex(wanted.regex))
            case _:
                return None
    except UserError as error:
        raise bad("response_format", str(error)) from None
