"""Imports optional libraries when they are first needed."""

import importlib
import importlib.util
from typing import Any

from palmetto.host.extras import MODULES, missing


def need(module: str, extra: str = "corpus") -> Any:
    """Imports and returns a module; raises UserError with the command that installs its extra if it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise
        raise missing(module, extra) from None


def check() -> None:
    """Raises UserError if a module of the extra `corpus` is missing, before a build rather than hours into it."""
    for module in MODULES["corpus"]:
        if importlib.util.find_spec(module) is None:
            raise missing(module, "corpus")
