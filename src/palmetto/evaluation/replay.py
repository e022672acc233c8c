"""Replays samples of an evaluation's ledger, and compares answers and log-probabilities to the bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from palmetto.decoding.request import Request, Result
from palmetto.errors import UserError
from palmetto.evaluation.evaluating import LEDGER
from palmetto.evaluation.ledger import manner_of
from palmetto.evaluation.model import EvaluatedModel
from palmetto.evaluation.queries import generating, scoring
from palmetto.evaluation.settings import SETTINGS
from palmetto.files import read_json
from palmetto.json_lines import read_json_lines
from palmetto.tokens.vocabulary import Vocabulary

_KEYS = {"task", "example", "option", "ids", "continuation_ids", "prefix", "logprobs", "answer"}
SAMPLES = 64
"""The most lines that are replayed unasked, evenly spread over the ledger."""


def verify(out: Path, model: EvaluatedModel, first: int | None = None, last: int | None = None) -> tuple[int, str]:
    """Returns how many lines were replayed, and what is not as recorded or an empty text.

    An answer is generated again in the manner that its line records. Where an older ledger does not say it, the answer
    is scored, which gives the bits of its generation. Of every answer, the text is compared to its ids.

    first, last: the lines to replay, counted from 1; without both, samples. Raises UserError for a line that the ledger
    does not have, or that is not one of an evaluation.
    """
    settings = read_json(out / SETTINGS)
    for key, value in model.identity.items():
        if key != "run" and settings.get(key) != value:
            return 0, f"{key} is {value}, and was {settings.get(key)}"
    lines = read_json_lines(out / LEDGER)
    if not lines:
        raise UserError(f"{out / LEDGER}: no line to replay; `palmetto eval` writes them")
    for at, line in enumerate(lines):
        if not isinstance(line, dict) or not line.keys() >= _KEYS:
            raise UserError(f"{out / LEDGER}: line {at + 1} is not one of an evaluation")
        if line["option"] < 0 and model.reader.text(line["continuation_ids"]) != line["answer"]:
            return 0, f"{_place(at, line)}: the answer is not the text of its ids"
    places = _places(len(lines), first, last)
    requests = list[Request]()
    for at in places:
        try:
            requests.append(_request(lines[at], model.reader.vocabulary))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UserError(f"{out / LEDGER}: line {at + 1} does not say how its answer was generated") from None
    for done, (at, (result,)) in enumerate(zip(places, model.engine.run(requests), strict=True)):
        if difference := _difference(lines[at], result, model):
            return done, f"{_place(at, lines[at])}: {difference}"
    return len(places), ""


def _request(line: Mapping[str, Any], vocabulary: Vocabulary) -> Request:
    """Returns the engine's request of a line."""
    ids, prefix = tuple(line["ids"]), line["prefix"]
    if "tokens" not in line:
        return scoring(ids, line["continuation_ids"], prefix)
    return generating(manner_of(line), vocabulary, ids, prefix, line["tokens"], line.get("seed"))


def _places(count: int, first: int | None, last: int | None) -> list[int]:
    """Returns the places of the lines to replay, counted from 0."""
    if first is None and last is None:
        places: list[int] = np.unique(np.linspace(0, count - 1, SAMPLES, dtype=np.int64)).tolist()
        return places
    start, end = 1 if first is None else first, count if last is None else last
    if not 1 <= start <= end <= count:
        raise UserError(f"--from {start} --to {end}: expected lines of the ledger, which has 1 to {count}")
    return list(range(start - 1, end))


def _place(at: int, line: dict[str, Any]) -> str:
    return f"{LEDGER}: line {at + 1}, example {line['example']} of {line['task']}"


def _difference(line: Mapping[str, Any], result: Result, model: EvaluatedModel) -> str:
    """Returns what is not as recorded, or an empty text."""
    tokens = result.tokens or result.prompt
    if (ids := [token.id for token in tokens]) != line["continuation_ids"]:
        return f"the answer is {model.reader.text(ids)!r:.60}, and was {line['answer']!r:.60}"
    recorded, now = line["logprobs"], [token.logprob.hex() for token in tokens if token.logprob is not None]
    for place, (was, found) in enumerate(zip(recorded, now, strict=False)):
        if was != found:
            return f"log-probability {place} is {found}, and was {was}"
    return "" if len(now) == len(recorded) else f"{len(now)} log-probabilities, and there were {len(recorded)}"
