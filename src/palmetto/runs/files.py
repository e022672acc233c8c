"""The JSON files of a run directory: the shape of each, and the one function that reads it.

A file that is missing is None, or no lines. One of another shape is a UserError that names the file, the line where
there are lines, the key, and what was expected. Keys beyond those of the shape are kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from palmetto.errors import UserError
from palmetto.files import present, read_json, read_json_lines

_OPEN = with_config(ConfigDict(extra="allow", strict=True))
Shape = TypeVar("Shape")


@_OPEN
class Event(TypedDict):
    """A line of events.jsonl. What an event must tell besides depends on its kind (`_TOLD`)."""

    event: str
    time: NotRequired[str]
    text: NotRequired[str]
    step: NotRequired[int]
    attempt: NotRequired[int]
    checkpoint: NotRequired[int]
    loss: NotRequired[float]
    detected: NotRequired[int]
    onset: NotRequired[int]
    target: NotRequired[int]
    batches: NotRequired[int]


_TOLD = {
    "validation": ("step", "attempt", "loss"),
    "rollback": ("attempt", "target"),
    "resume": ("checkpoint", "attempt"),
    "damaged checkpoint": ("checkpoint",),
    "skipped step": ("step",),
    "overflow": ("step",),
}
"""The keys without which an event of a kind says nothing."""


@_OPEN
class Measured(TypedDict):
    """A line of metrics.jsonl: a step's figures that differ between runs, and what the routers of experts did."""

    step: int
    attempt: int
    seconds: float
    tokens_per_second: NotRequired[float]
    mfu: NotRequired[float]
    dropped: NotRequired[float | None]
    entropy: NotRequired[float | None]
    balance: NotRequired[float | None]
    z: NotRequired[float | None]
    load: NotRequired[Any]


@_OPEN
class Losses(TypedDict):
    """Validation losses; None where none was measured."""

    first: float | None
    last: float | None
    best: float | None


@_OPEN
class Digests(TypedDict):
    """SHA-256 in hex."""

    parameters: str
    optimizer: str


@_OPEN
class Environment(TypedDict, total=False):
    """environment.json: what the bits depend on besides recipe and text, and the machine."""

    jaxlib: str
    jax: str
    platform: str
    device: str
    devices: int
    layout: dict[str, int | str]
    threads: int
    instruction_set: str
    variables: dict[str, str]
    palmetto: str
    python: str
    system: str
    cores: int | None
    device_peak_flops: float


@_OPEN
class Summary(TypedDict):
    """summary.json: a training's figures in short."""

    recipe: str
    parameters: int
    steps: int
    tokens: int
    validation_loss: Losses
    unigram_entropy: float
    tokens_per_second: float
    mfu: float
    peak_flops: float
    rollbacks: int
    skipped_steps: int
    digest: Digests
    environment: Environment


@_OPEN
class Stamp(TypedDict):
    """stages/NAME.json: a finished product of a run."""

    inputs: str
    """The digest of what it was made from."""
    outputs: dict[str, str]
    """The digest of each file it made, by path in the run directory."""


@_OPEN
class Completed(TypedDict):
    """An entry of checkpoints.json: a complete checkpoint."""

    step: int
    attempt: int
    chain: str
    """The ledger's chain at this step."""


_EVENT, _MEASURED = TypeAdapter(Event), TypeAdapter(Measured)
_ENVIRONMENT, _SUMMARY, _STAMP = TypeAdapter(Environment), TypeAdapter(Summary), TypeAdapter(Stamp)
_COMPLETED = TypeAdapter(list[Completed], config=ConfigDict(strict=True))
_TEXTS = TypeAdapter(dict[str, str], config=ConfigDict(strict=True))


def read_events(path: Path) -> list[Event]:
    """Reads the events, in the order they happened."""
    events = _lines(path, _EVENT)
    for number, event in enumerate(events, 1):
        for key in _TOLD.get(event["event"], ()):
            if key not in event:
                raise UserError(f"{path}: line {number}: {key}: missing, of the event {event['event']!r}")
    return events


def read_metrics(path: Path) -> list[Measured]:
    """Reads the figures of steps; of a step that was taken again there are several lines, of which the last counts."""
    return _lines(path, _MEASURED)


def read_environment(path: Path) -> dict[str, Any] | None:
    """Reads the environment that a run began in, in the form of `environment.record`."""
    recorded = _whole(path, _ENVIRONMENT)
    return None if recorded is None else dict(recorded)


def read_summary(path: Path) -> Summary | None:
    """Reads the figures of the last training."""
    return _whole(path, _SUMMARY)


def read_stamp(path: Path) -> Stamp | None:
    """Reads the stamp of a finished product."""
    return _whole(path, _STAMP)


def read_completed(path: Path) -> list[Completed] | None:
    """Reads the complete checkpoints of a run."""
    return _whole(path, _COMPLETED)


def read_texts(path: Path) -> dict[str, str] | None:
    """Reads a sweep's text.json: the fingerprint of each of its sources, by path."""
    return _whole(path, _TEXTS)


def _whole(path: Path, shape: TypeAdapter[Shape]) -> Shape | None:
    return _shaped(read_json(path), shape, f"{path}") if present(path) else None


def _lines(path: Path, shape: TypeAdapter[Shape]) -> list[Shape]:
    return [_shaped(value, shape, f"{path}: line {number}") for number, value in enumerate(read_json_lines(path), 1)]


def _shaped(value: object, shape: TypeAdapter[Shape], where: str) -> Shape:
    try:
        return shape.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{where}: {_explain(first['loc'], first['type'], first['msg'], first['input'])}") from None


def _explain(place: Sequence[int | str], kind: str, message: str, found: object) -> str:
    key = "".join(f"{part}: " for part in [" ".join(".".join(map(str, place)).split())] if part)
    if kind == "missing":
        return f"{key}missing"
    return f"{key}{message[:1].lower()}{message[1:]}, found {repr(found)[:40]}"
