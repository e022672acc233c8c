"""The settings of optimizers. Recipes are read before JAX is imported; the rules are in training/optimizers/."""

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, SerializeAsAny

from palmetto.recipe.kinds import Kinds
from palmetto.recipe.section import Coefficient, Rate, Section


class OptimizerSettings(Section):
    """The settings of an optimizer, which its name tells."""

    name: str


class Adafactor(OptimizerSettings):
    """Adafactor (Shazeer & Stern, arXiv 1804.04235): Adam with the step scaled by each matrix's RMS.

    The defaults are PaLM's (section 5): without factorization. GLaM's are momentum 0, decay 0.99, update_clip 1,
    factored, no weight decay.
    """

    name: Literal["adafactor"] = "adafactor"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The most that β2 grows to; None: it goes on towards 1."""
    decay_exponent: Rate = 0.8
    """β2 at the k-th applied update is 1 − k^−decay_exponent."""
    factored: bool = False
    """The second moment of a matrix as its rows' and columns' means alone."""
    parameter_scale: bool = True
    """The step of a matrix is scaled by its RMS; without, this is Adam with a growing β2."""
    weight_decay: bool = True
    """PaLM's: p ← p − lr²·p."""
    update_clip: Rate | None = None
    """Clips the RMS of each matrix's g/√v; PaLM names none, so it is off."""


class AdamW(OptimizerSettings):
    """Adam with decoupled weight decay on matrices (not on norm scales)."""

    name: Literal["adamw"] = "adamw"
    b1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    b2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    epsilon: Rate = 1e-8
    weight_decay: Coefficient = 0.1


KINDS: Kinds[OptimizerSettings] = Kinds(Adafactor, AdamW)
"""The optimizers that a recipe may name; see `palmetto.training.optimizers.register`."""

ChosenOptimizer = Annotated[SerializeAsAny[OptimizerSettings], PlainValidator(KINDS.choose)]
