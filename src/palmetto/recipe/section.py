"""The base class of all parts of a recipe, and the types of their values."""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from palmetto.errors import UserError

_LAYERS = (Annotated, Union, UnionType)
_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}


class PaddedNumber(int):
    """A whole number that is not in Python's notation, such as 09, with its text."""

    text: str

    def __new__(cls, value: int, text: str) -> "PaddedNumber":
        number = super().__new__(cls, value)
        number.text = text
        return number


class Section(BaseModel):
    """A part of a recipe. It is immutable, strict about types, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, values: Any) -> Any:
        """Reads `no` as false where a boolean is expected, and 09 as text where text is expected."""
        if not isinstance(values, dict):
            return values
        expected = {key: field.annotation for key, field in cls.model_fields.items()}
        return {key: _as(expected.get(key), value) for key, value in values.items()}


def _as(expected: Any, value: Any) -> Any:
    if expected is bool and isinstance(value, str):
        return _SWITCHES.get(value.lower(), value)
    if isinstance(value, PaddedNumber) and _is_text(expected):
        return value.text
    return value


def _is_text(expected: Any) -> bool:
    """Returns whether a type is text: str, with or without conditions, alone or beside None."""
    return expected is str or (get_origin(expected) in _LAYERS and any(map(_is_text, get_args(expected))))


Positive = Annotated[int, Field(ge=1)]
PositiveInt32 = Annotated[int, Field(ge=1, lt=2**31)]
"""A number that compiled programs hold in 32 bits."""
Size = Annotated[int, Field(ge=1, le=2**24)]
"""A number whose divisors messages list. The bound is above any model's size, and its divisors are found quickly."""
NonNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Coefficient = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def is_unicode(text: str) -> bool:
    """Returns whether a text can be encoded in UTF-8, that is, has no lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def impossible(key: str, value: object, expected: str) -> UserError:
    """Returns the error for a value that has the right type and is still not possible."""
    return UserError(f"{key}={value}: {expected}")
