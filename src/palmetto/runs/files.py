"""The JSON files of a run directory, each with its shape and the function that reads it.

A missing file is read as None, or as no lines. A file of another shape raises a UserError that names the file, the line
if it has lines, the key, and what was expected. Additional keys are kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from palmetto.errors import UserError
from palmetto.files import present, read_json
from palmetto.json_lines import read_json_lines

_OPEN = with_config(ConfigDict(extra="allow", strict=True))
Shape = TypeVar("Shape")


@_OPEN
class Event(TypedDict):
    """Describes a line of events.jsonl; `_TOLD` lists the keys that each kind of event requires."""

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
    scores: NotRequired[dict[str, Any]]


_TOLD = {
    "validation": ("step", "attempt", "loss"),
    "evaluation": ("step", "attempt", "scores"),
    "rollback": ("attempt", "target"),
    "resume": ("checkpoint", "attempt"),
    "damaged checkpoint": ("checkpoint",),
    "skipped step": ("step",),
    "overflow": ("step",),
}
"""The keys that each kind of event requires."""


@_OPEN
class Measured(TypedDict):
    """Describes a line of metrics.jsonl: a step's time and throughput, and the statistics of its routers."""

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
class Stretch(TypedDict):
    """Describes a line of energy.jsonl: a stretch of training, and what the machine's meters counted in it."""

    seconds: float
    joules: NotRequired[float]
    meters: NotRequired[str]


@_OPEN
class EnergyUse(TypedDict):
    """Describes energy that was or would be used (training/energy.py); None if a chip's power is not known."""

    kwh: float | None
    """The energy that the building takes from the grid."""
    kg_co2e: float | None
    hours: float | None
    chips: int
    watts: float | None
    """The mean power of a chip."""
    pue: float
    intensity: float
    source: str | None
    how: str
    """Says whether it was measured or estimated, and from what."""


@_OPEN
class Losses(TypedDict):
    """Describes validation losses in nats per token, which are None if none was measured."""

    first: float | None
    last: float | None
    best: float | None


@_OPEN
class Digests(TypedDict):
    """Describes the digests of parameters and optimizer state (training/digest.py)."""

    parameters: str
    optimizer: str


@_OPEN
class Environment(TypedDict, total=False):
    """Describes environment.json: what the bits depend on besides recipe and text, and the machine."""

    jaxlib: str
    jax: str
    platform: str
    device: str
    devices: int
    layout: dict[str, int | str]
    inelastic: str
    threads: int
    instruction_set: str
    products: str
    variables: dict[str, str]
    palmetto: str
    python: str
    system: str
    cores: int | None
    device_peak_flops: float


@_OPEN
class Summary(TypedDict):
    """Describes summary.json, the main figures of a training."""

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
    energy: NotRequired[EnergyUse]


@_OPEN
class Stamp(TypedDict):
    """Describes stages/NAME.json, the stamp of a finished product of a run."""

    inputs: str
    """The digest of the inputs that the product was made from."""
    outputs: dict[str, str]
    """The digest of each file of the product, by path in the run directory."""


@_OPEN
class Completed(TypedDict):
    """Describes an entry of checkpoints.json, the record of a complete checkpoint."""

    step: int
    attempt: int
    chain: str
    """The ledger's chain at this step."""


_EVENT, _MEASURED, _STRETCH = TypeAdapter(Event), TypeAdapter(Measured), TypeAdapter(Stretch)
_ENVIRONMENT, _SUMMARY, _STAMP = TypeAdapter(Environment), TypeAdapter(Summary), TypeAdapter(Stamp)
_COMPLETED = TypeAdapter(list[Completed], config=ConfigDict(strict=True))
_TEXTS = TypeAdapter(dict[str, str], config=ConfigDict(strict=True))


def read_events(path: Path) -> list[Event]:
    """Returns the events in the order in which they happened."""
    events = _lines(path, _EVENT)
    for number, event in enumerate(events, 1):
        for key in _TOLD.get(event["event"], ()):
            if key not in event:
                raise UserError(f"{path}: line {number}: {key}: missing, of the event {event['event']!r}")
    return events


def read_metrics(path: Path) -> list[Measured]:
    """Returns the measurements of steps; a step that was repeated has several lines, of which the last counts."""
    return _lines(path, _MEASURED)


def read_energy(path: Path) -> list[Stretch]:
    """Returns the stretches of training of all processes, in order."""
    return _lines(path, _STRETCH)


def read_environment(path: Path) -> dict[str, Any] | None:
    """Returns the environment that a run began in, in the form of `environment.record`."""
    recorded = _whole(path, _ENVIRONMENT)
    return None if recorded is None else dict(recorded)


def read_summary(path: Path) -> Summary | None:
    """Returns the summary of the last training."""
    return _whole(path, _SUMMARY)


def read_stamp(path: Path) -> Stamp | None:
    """Returns the stamp of a finished product."""
    return _whole(path, _STAMP)


def read_completed(path: Path) -> list[Completed] | None:
    """Returns the complete checkpoints of a run."""
    return _whole(path, _COMPLETED)


def read_texts(path: Path) -> dict[str, str] | None:
    """Returns a sweep's text.json, the fingerprint of each of its sources by path."""
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
