"""Libraries that only some users need, imported when they are."""

import importlib
import importlib.util
from typing import Any

from palmetto.errors import UserError
from palmetto.host.extras import installation

MODULES = ("fastwarc", "fsspec", "mwparserfromhell", "py3langid", "rapidfuzz", "rensa", "resiliparse", "sklearn")
"""Modules that the extra `corpus` brings and that are imported here."""


def need(module: str, extra: str = "corpus") -> Any:
    """Imports and returns a module; UserError that says how to install its extra where it is not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise
        raise _missing(module, extra) from None


def check() -> None:
    """UserError where a library of the extra `corpus` is not there: before a build, and not hours into it."""
    for module in MODULES:
        if importlib.util.find_spec(module) is None:
            raise _missing(module, "corpus")


def _missing(module: str, extra: str) -> UserError:
    return UserError(f"{module}: needs the extra `{extra}`: {installation(extra)}")
