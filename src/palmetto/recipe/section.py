"""What every part of a recipe has in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from palmetto.errors import UserError


class Section(BaseModel):
    """A part of a recipe: immutable, strict about types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


Positive = Annotated[int, Field(ge=1)]
Counted = Annotated[int, Field(ge=1, lt=2**31)]
"""A count that devices keep in 32 bits."""
NonNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Coefficient = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def impossible(key: str, value: object, expected: str) -> UserError:
    """The refusal of a value that its own type allows, in the one form that all of them have."""
    return UserError(f"{key}={value}: {expected}")
