"""The section of a recipe about training: optimizer, schedule, batches, recovery, checkpoints and logging."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from palmetto.recipe.objectives import CausalObjective, Objective
from palmetto.recipe.optimizers import Optimizer
from palmetto.recipe.section import (
    Coefficient,
    NonNegative,
    Positive,
    PositiveInt32,
    Rate,
    Section,
    Share,
    Size,
    impossible,
)


class Cooldown(Section):
    """Sets a fall of the rate over the last steps of a run, as a factor of the schedule's rate there."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The share of training.steps, from the end, over which the rate falls."""
    shape: Literal["linear", "1-sqrt"] = "linear"
    """With p from 0 to 1 over these steps, the rate falls as 1 − p or as 1 − √p."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of the schedule's rate that is left at the last step."""


class InverseSqrt(Section):
    """Sets PaLM's schedule: `peak` for `hold` steps, then peak·√(hold/step); with 1e-2 and 10,000 that is 1/√step."""

    name: Literal["inverse_sqrt"] = "inverse_sqrt"
    peak: Rate = 1e-2
    hold: Positive = 10_000
    cooldown: Cooldown | None = None


class Cosine(Section):
    """Sets a linear warm-up to `peak` in `warmup` steps, then a cosine to `final`·peak at `decay_steps`, then flat."""

    name: Literal["cosine"] = "cosine"
    peak: Rate = 3e-4
    warmup: NonNegative = 0
    decay_steps: Positive | None = None
    """The step at which the cosine ends; by default training.steps, which then belongs to the recipe's identity."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.1
    cooldown: Cooldown | None = None


class Constant(Section):
    """Sets a linear warm-up to `peak` in `warmup` steps, then `peak`; with a cool-down this is "WSD"."""

    name: Literal["constant"] = "constant"
    peak: Rate = 3e-4
    warmup: NonNegative = 0
    cooldown: Cooldown | None = None


Schedule = InverseSqrt | Cosine | Constant


class Spikes(Section):
    """Sets when to roll back and how far; PaLM (section 5.1) goes back about 100 steps and skips 200–500 batches."""

    threshold: Rate = 8.0
    """The number of robust standard deviations above the running median at which a step is suspicious."""
    window: Annotated[int, Field(ge=8)] = 128
    """The number of steps that the median is taken over; no step is judged before half of them are known."""
    patience: Positive = 3
    """The number of suspicious losses in one streak that make a spike; its onset is the streak's first step."""
    nonfinite_patience: Positive = 8
    """The number of NaN or Inf steps in one streak that make a spike."""
    rewind: Positive = 100
    """The number of steps before the onset at which training resumes; a spike that returns multiplies it by 2, 3, …"""
    skip: Positive = 300
    """The number of batches skipped there."""
    attempts: NonNegative = 5
    """The number of consecutive rollbacks on one spike before the run stops."""

    @model_validator(mode="after")
    def _check(self) -> "Spikes":
        for key in ("patience", "nonfinite_patience"):
            if getattr(self, key) > self.rewind:
                raise impossible(
                    f"training.spikes.{key}",
                    getattr(self, key),
                    f"a streak is looked at over at most training.spikes.rewind steps: {self.rewind} would do",
                )
        if self.skip < 2 * self.rewind:
            raise impossible(
                "training.spikes.skip",
                self.skip,
                "must cover the batches before and during a spike: "
                f"at least twice training.spikes.rewind, {2 * self.rewind}",
            )
        return self


class LossScale(Section):
    """Sets dynamic loss scaling, which is used only with activations in float16 (arXiv 1710.03740).

    The loss is multiplied by a power of two, which is halved when a gradient overflows (that update is skipped) and
    doubled after `growth_interval` steps without overflow.
    """

    initial: Annotated[int, Field(ge=1, le=2**30)] = 2**15
    growth_interval: PositiveInt32 = 2000

    @model_validator(mode="after")
    def _check(self) -> "LossScale":
        if self.initial & (self.initial - 1):
            below = 1 << (self.initial.bit_length() - 1)
            raise impossible(
                "training.loss_scale.initial",
                self.initial,
                f"must be a power of two, so that scaling loses no bit: {below} or {2 * below} would do",
            )
        return self


class Evaluations(Section):
    """Sets what the checkpoints of a run are evaluated on while it trains (docs/evaluation.md)."""

    tasks: Annotated[list[str], Field(min_length=1)]
    data: str
    """The folder with a folder for each set."""
    every: Positive = 1000
    """The number of steps between evaluations; the last step has one too."""
    shots: NonNegative = 0
    limit: Positive | None = None
    """The number of first examples of each task; None for all."""


class Training(Section):
    """Sets the length of training, its batches, optimizer and schedule, recovery, checkpoints and logging."""

    steps: Positive
    batch_size: Annotated[dict[NonNegative, Size], Field(min_length=1)]
    """Sequences per step: a number, or a ramp {number of steps done: number of sequences}."""
    micro_batch: Size = 1
    """Sequences per leaf of the gradient tree."""
    epochs: Positive = 1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    threads: Positive = 8
    """The size of XLA's CPU thread pool, which is fixed and recorded because it changes bits."""
    reproducible: Literal["elastic", "fixed"] = "elastic"
    """The scope of reproducibility: "elastic" gives the same bits on any number of data-parallel devices and pods,
    "fixed" on one layout only, with the platform's own collectives."""
    objective: Annotated[Objective, Field(discriminator="name")] = CausalObjective()
    optimizer: Annotated[SerializeAsAny[Optimizer], BeforeValidator(Optimizer.choose)] = Field(
        default_factory=Optimizer.usual
    )
    schedule: Annotated[Schedule, Field(discriminator="name")] = InverseSqrt()
    clip: Rate | None = 1.0
    """The greatest global norm of the gradient; None does not clip it."""
    z_loss: Coefficient = 1e-4
    dropout: Share | None = None
    """The share of the elements of the embeddings, and of what attention and feed-forward add to them, that a step
    sets to zero (arXiv 1706.03762, section 5.4); None for no dropout."""
    frozen: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] | None = None
    """Patterns of the names of weights that stay as they are, as in "embedding" or "expert_*"."""
    embedding_gradient: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The factor of the gradient that reaches the embedding from the input (GLM-130B, arXiv 2210.02414)."""
    loss_scale: LossScale = LossScale()
    rematerialize: Literal["nothing", "projections", "block"] = "nothing"
    """The part that the backward pass recomputes: nothing, all but the results of matrix products, or whole blocks."""
    spikes: Spikes = Spikes()
    checkpoint_every: Positive = 1000
    keep_last: Positive = 3
    keep_every: Positive | None = None
    evaluate_every: Positive = 1000
    validation_windows: Positive = 256
    """The maximal number of held-out windows that the validation loss is averaged over."""
    evaluations: Evaluations | None = None
    """The tasks that checkpoints are evaluated on; None for no such evaluation."""
    digest_every: Positive = 100
    """The number of steps between digests of the parameters in the ledger."""
    peak_flops: Rate | None = None
    """The peak FLOP/s that the MFU is relative to; by default the chip's published figure, or else a measured one."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if values.get("dropout") == 0:
            values["dropout"] = None
        if isinstance(values.get("batch_size"), int):
            values["batch_size"] = {0: values["batch_size"]}
        for section, usual in (("schedule", "inverse_sqrt"), ("objective", "causal")):
            if isinstance(values.get(section), dict):
                values[section] = {"name": usual, **values[section]}
        return values

    @model_validator(mode="after")
    def _check(self) -> "Training":
        if 0 not in self.batch_size:
            raise impossible("training.batch_size", dict(self.batch_size), "a ramp must begin at step 0")
        for size in self.batch_size.values():
            leaves, rest = divmod(size, self.micro_batch)
            if rest or leaves & (leaves - 1) or not leaves:
                below = self.micro_batch * 2 ** max(0, leaves.bit_length() - 1)
                raise impossible(
                    "training.batch_size",
                    size,
                    f"must be training.micro_batch {self.micro_batch} "
                    f"times a power of two: {below} or {2 * below} would do",
                )
        return self

    @property
    def batch_ramp(self) -> tuple[tuple[int, int], ...]:
        """Returns the ramp as pairs (steps done before it, sequences per step), ascending."""
        return tuple(sorted(self.batch_size.items()))

    @property
    def steps_before_cooldown(self) -> int:
        """The number of steps before the cool-down, which has at least one; all steps if there is none."""
        cooldown = self.schedule.cooldown
        return self.steps - max(1, round(cooldown.share * self.steps)) if cooldown else self.steps

    @property
    def end_shapes_rate(self) -> bool:
        """Says whether the rate of a step depends on `steps`, as in a cool-down or a cosine without `decay_steps`."""
        schedule = self.schedule
        return schedule.cooldown is not None or (isinstance(schedule, Cosine) and schedule.decay_steps is None)
