"""The base class of sections that have several kinds, such as optimizers. Each kind has a name and a file of its own.

The file holds the kind's settings and, as methods, its behaviour. Recipes are read before JAX may be imported
(host/environment.py), so these methods import JAX where they need it.
"""

import importlib
import pkgutil
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, TypeAdapter

from palmetto.recipe.section import Section


class Kind(Section):
    """A section of several kinds. A kind's `name` is a Literal whose default is its only value."""

    folder: ClassVar[str]
    """The package whose modules hold the kinds."""
    usual_name: ClassVar[str]
    """The name of the kind that a recipe gets if it names none."""

    name: str

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Returns every kind by its name, the usual one first: the subclasses in the folder's files, and any others."""
        _import_all(cls.folder)
        kinds = {kind.model_fields["name"].default: kind for kind in cls.__subclasses__()}
        return {name: kinds[name] for name in sorted(kinds, key=lambda name: (name != cls.usual_name, name))}

    @classmethod
    def usual(cls) -> Self:
        """Returns the usual kind with its default settings."""
        return cls.choose({})

    @classmethod
    def choose(cls, values: Any) -> Self:
        """Returns the kind that a recipe's values describe. Raises ValidationError if they are invalid."""
        if isinstance(values, dict):
            values = {"name": cls.usual_name, **values}
        chosen: Self = _reader(tuple(cls.kinds().values())).validate_python(values)
        return chosen


@cache
def _import_all(folder: str) -> None:
    for module in pkgutil.iter_modules(importlib.import_module(folder).__path__):
        importlib.import_module(f"{folder}.{module.name}")


@cache
def _reader(kinds: tuple[Any, ...]) -> "TypeAdapter[Any]":
    choice: Any = Annotated[reduce(or_, kinds), Field(discriminator="name")]
    return TypeAdapter(choice)
