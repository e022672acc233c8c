"""The section of a recipe about fine-tuning: the checkpoint that training begins with, and its examples."""

from typing import Annotated

from pydantic import Field

from palmetto.recipe.section import NonNegative, Rate, Section


class DataSet(Section):
    """Names a file of examples, one JSON object a line."""

    path: str
    weight: Rate | None = None
    """The share of this file's examples among all, relative to the other files' weights; None: its size."""


class Finetuning(Section):
    """Names what fine-tuning begins with, and the text that it trains on."""

    base: str
    """The directory of the run whose checkpoint training begins with."""
    step: NonNegative
    """The step of that checkpoint."""
    parameters: str
    """The digest of its parameters."""
    pieces: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)] = ()
    """Pieces that the vocabulary gets beyond those of the base, as for the turns of a chat."""
    data: Annotated[tuple[DataSet, ...], Field(strict=False)] = ()
    """The files of examples; none if the text is the recipe's corpus."""
