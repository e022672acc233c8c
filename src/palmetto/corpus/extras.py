"""Imports optional libraries when they are first needed."""

import importlib
import importlib.util
from typing import Any

from palmetto.errors import UserError
from palmetto.host.extras import installation

MODULES = ("fastwarc", "fsspec", "mwparserfromhell", "py3langid", "rapidfuzz", "rensa", "resiliparse", "sklearn")
"""The modules of the extra `corpus` that are imported through `need`."""


def need(module: str, extra: str = "corpus") -> Any:
    """Imports and returns a module; raises UserError with the command that installs its extra if it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise
        raise _missing(module, extra) from None


def check() -> None:
    """Raises UserError if a module of the extra `corpus` is missing, before a build rather than hours into it."""
    for module in MODULES:
        if importlib.util.find_spec(module) is None:
            raise _missing(module, "corpus")


def _missing(module: str, extra: str) -> UserError:
    return UserError(f"{module}: needs the extra `{extra}`: {installation(extra)}")
