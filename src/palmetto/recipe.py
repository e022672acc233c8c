"""A run as one typed, frozen, validated value. Everything a run does follows from its recipe and its source."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from palmetto.errors import UserError


class Section(BaseModel):
    """A part of a recipe: immutable, strict about types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Corpus(Section):
    """Where the text comes from and how it is divided."""

    source: str | None = None
    """A file or folder, or `python`: the text of the running Python's installation."""
    validation_share: Share = 0.02
    """Share of the documents held out, chosen by the hash of their content."""
    section_bytes: Positive = 65536
    """Longer documents are cut at a line break into sections of about this many bytes, each a document."""


class Tokens(Section):
    """The vocabulary and the windows that a model is trained on."""

    vocabulary: Literal["unigram", "bpe"] = "bpe"
    vocabulary_size: Annotated[int, Field(ge=260, le=2**24)]
    sequence_length: Annotated[int, Field(ge=2)]


class Model(Section):
    """PaLM's decoder (arXiv 2204.02311, section 2): L layers, width D, H query heads of size Q, feed-forward F."""

    layers: Positive
    d_model: Annotated[int, Field(ge=2)]
    heads: Positive
    head_size: int | None = None
    """Q; by default d_model / heads. PaLM 540B has 48 heads of 256 on a width of 18432: they need not multiply up."""
    d_ff: int | None = None
    """F; by default 4 · d_model."""
    activations: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        width, heads = values.get("d_model"), values.get("heads")
        if isinstance(width, int) and isinstance(heads, int) and width > 0 and heads > 0:
            if values.get("head_size") is None:
                if width % heads:
                    fits = [str(h) for h in range(1, width + 1) if width % h == 0 and width // h % 2 == 0]
                    choice = f" (one of {', '.join(fits)})" if fits else ""
                    raise _impossible("model.heads", heads, f"must divide model.d_model {width}{choice}, "
                                      "or model.head_size must be given")  # fmt: skip
                values["head_size"] = width // heads
            if values.get("d_ff") is None:
                values["d_ff"] = 4 * width
        return values

    @model_validator(mode="after")
    def _check(self) -> "Model":
        if self.head_size is None or self.head_size < 2 or self.head_size % 2:
            size = self.head_size or 0
            even = f"{size - 1} or {size + 1}" if size > 2 else "2"
            raise _impossible("model.head_size", size, "must be even, since rotary positions turn pairs: "
                              f"{even} would do")  # fmt: skip
        if self.d_ff is None or self.d_ff < 1:
            raise _impossible("model.d_ff", self.d_ff, "must be at least 1")
        return self

    @property
    def query_size(self) -> int:
        """Q, the size of one head."""
        assert self.head_size is not None
        return self.head_size

    @property
    def feedforward_size(self) -> int:
        """F, the inner width of the feed-forward layer."""
        assert self.d_ff is not None
        return self.d_ff


class Adafactor(Section):
    """Adafactor without factorization, as PaLM uses it (section 5): Adam with the step scaled by each matrix's RMS."""

    name: Literal["adafactor"] = "adafactor"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    decay_exponent: Rate = 0.8
    """β2 at the k-th applied update is 1 − k^−decay_exponent."""
    update_clip: Rate | None = None
    """Clips the RMS of each matrix's g/√v; PaLM names none, so it is off."""


class AdamW(Section):
    """Adam with decoupled weight decay on matrices (not on norm scales)."""

    name: Literal["adamw"] = "adamw"
    b1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    b2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    epsilon: Rate = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1


class InverseSqrt(Section):
    """PaLM's schedule: `peak` for the first `hold` steps, then peak·√(hold/step); with 1e-2 and 10,000, 1/√step."""

    name: Literal["inverse_sqrt"] = "inverse_sqrt"
    peak: Rate = 1e-2
    hold: Positive = 10_000


class Cosine(Section):
    """Linear warm-up over `warmup` steps to `peak`, then a cosine to `final`·peak at `decay_steps` and flat after."""

    name: Literal["cosine"] = "cosine"
    peak: Rate = 3e-4
    warmup: NonNegative = 0
    decay_steps: Positive | None = None
    """By default training.steps, which then belongs to the recipe's identity."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.1


class Spikes(Section):
    """When to go back, and how far (PaLM, section 5.1): about 100 steps, skipping 200–500 batches."""

    threshold: Rate = 8.0
    """Robust standard deviations above the running median at which a step is suspicious."""
    window: Annotated[int, Field(ge=8)] = 128
    """Steps that the median is taken over; nothing is judged before half of them are in."""
    patience: Positive = 3
    """Suspicious losses in one streak of suspicious steps that make a spike; its onset is the streak's first step."""
    nonfinite_patience: Positive = 8
    """NaN or Inf steps in one streak that make one."""
    rewind: Positive = 100
    """Steps before the onset at which training goes on; twice as far if the spike returns, and so on."""
    skip: Positive = 300
    """Batches passed over from there."""
    attempts: NonNegative = 5
    """Rollbacks in a row on one spike before the run stops."""

    @model_validator(mode="after")
    def _check(self) -> "Spikes":
        for key in ("patience", "nonfinite_patience"):
            if getattr(self, key) > self.rewind:
                raise _impossible(f"training.spikes.{key}", getattr(self, key), "a streak is looked at over at most "
                                  f"training.spikes.rewind steps: {self.rewind} would do")  # fmt: skip
        if self.skip < 2 * self.rewind:
            raise _impossible("training.spikes.skip", self.skip, "must cover the batches before and during a spike: "
                              f"at least twice training.spikes.rewind, {2 * self.rewind}")  # fmt: skip
        return self


class Training(Section):
    """How long, on what batches, by which rule; checkpointing and logging."""

    steps: Positive
    batch_size: Annotated[dict[NonNegative, Positive], Field(min_length=1)]
    """Sequences a step: a number, or a ramp {step from which: number}."""
    micro_batch: Positive = 1
    """Sequences in a leaf of the gradient tree."""
    epochs: Positive = 1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    threads: Positive = 8
    """Size of XLA's CPU thread pool. It changes bits, not speed, so it is fixed and recorded."""
    optimizer: Annotated[Adafactor | AdamW, Field(discriminator="name")] = Adafactor()
    schedule: Annotated[InverseSqrt | Cosine, Field(discriminator="name")] = InverseSqrt()
    clip: Rate | None = 1.0
    """Global norm of the gradient."""
    z_loss: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    rematerialize: Literal["nothing", "projections", "block"] = "nothing"
    """What the backward pass computes again: nothing, all but the results of matrix products, or whole blocks."""
    spikes: Spikes = Spikes()
    checkpoint_every: Positive = 1000
    keep_last: Positive = 3
    keep_every: Positive | None = None
    evaluate_every: Positive = 1000
    validation_windows: Positive = 256
    """Held-out windows that the validation loss is taken over, at most."""
    digest_every: Positive = 100
    """Steps between digests of the parameters in the ledger."""
    peak_flops: Rate | None = None
    """FLOP/s that the MFU is taken against; by default measured, or the chip's published figure."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if isinstance(values.get("batch_size"), int):
            values["batch_size"] = {0: values["batch_size"]}
        for section, usual in (("optimizer", "adafactor"), ("schedule", "inverse_sqrt")):
            if isinstance(values.get(section), dict):
                values[section] = {"name": usual, **values[section]}
        return values

    @model_validator(mode="after")
    def _check(self) -> "Training":
        if 0 not in self.batch_size:
            raise _impossible("training.batch_size", dict(self.batch_size), "a ramp must begin at step 0")
        for size in self.batch_size.values():
            leaves, rest = divmod(size, self.micro_batch)
            if rest or leaves & (leaves - 1) or not leaves:
                below = self.micro_batch * 2 ** max(0, leaves.bit_length() - 1)
                raise _impossible("training.batch_size", size, f"must be training.micro_batch {self.micro_batch} "
                                  f"times a power of two: {below} or {2 * below} would do")  # fmt: skip
        return self

    @property
    def batch_stages(self) -> tuple[tuple[int, int], ...]:
        """The ramp as (steps done before it, sequences), ascending."""
        return tuple(sorted(self.batch_size.items()))


class Recipe(Section):
    """A whole run."""

    name: str
    corpus: Corpus = Corpus()
    tokens: Tokens
    model: Model
    training: Training

    @property
    def identity(self) -> dict[str, Any]:
        """The values that change bits, by dotted key. Two recipes that agree in these are the same run.

        Where the files lie, how often they are written, and how long the run lasts are not among them, unless a
        schedule depends on the length. (The text itself enters through the token store's digests.)
        """
        values = flatten(self.model_dump())
        schedule = self.training.schedule
        if not (isinstance(schedule, Cosine) and schedule.decay_steps is None):
            del values["training.steps"]
        for key in _OUTSIDE_IDENTITY:
            del values[key]
        return values

    @property
    def digest(self) -> str:
        """SHA-256 of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def differences(self, other: "Recipe") -> list[str]:
        """The dotted keys of the identity in which two recipes differ, each with both values."""
        ours, theirs = self.identity, other.identity
        return [
            f"{key} {theirs.get(key)!r} → {ours.get(key)!r}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ]


_OUTSIDE_IDENTITY = (
    "name",
    "corpus.source",
    "training.checkpoint_every",
    "training.keep_last",
    "training.keep_every",
    "training.evaluate_every",
    "training.validation_windows",
    "training.digest_every",
    "training.peak_flops",
)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one of dotted keys; a batch ramp, whose keys are steps, stays one value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and all(isinstance(k, str) for k in value):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _impossible(key: str, value: object, expected: str) -> UserError:
    return UserError(f"{key}={value}: {expected}")
