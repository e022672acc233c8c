"""Sections that come in kinds, told apart by their name, each kind in one file.

The file has the settings and, as methods, all that is done differently for them. Recipes are read before JAX may be
imported (host/environment.py), so that such a file imports JAX where a method needs it.
"""

import importlib
import pkgutil
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, TypeAdapter

from palmetto.recipe.section import Section


class Kind(Section):
    """A section whose `name`, a Literal with its own default, says which of several kinds it is."""

    folder: ClassVar[str]
    """The package whose modules are the kinds."""
    usual_name: ClassVar[str]
    """The kind that a recipe has where it names none."""

    name: str

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Returns every kind by its name: the subclasses in the files of the folder, and those defined elsewhere."""
        _import_all(cls.folder)
        return {kind.model_fields["name"].default: kind for kind in cls.__subclasses__()}

    @classmethod
    def usual(cls) -> Self:
        """Returns the usual kind with its usual settings."""
        return cls.kinds()[cls.usual_name].model_validate({})

    @classmethod
    def choose(cls, values: Any) -> Self:
        """Returns the kind that a recipe's values describe; ValidationError where they are invalid."""
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
    form: Any = Annotated[reduce(or_, kinds), Field(discriminator="name")]
    return TypeAdapter(form)
