"""Libraries that only some users need, imported when they are."""

import importlib
from typing import Any

from palmetto.errors import UserError


def need(module: str, extra: str = "corpus") -> Any:
    """Imports and returns a module; UserError that names the extra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"{module}: needs the extra `{extra}`: pip install 'palmetto[{extra}]'") from None
