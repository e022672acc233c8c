"""Finds the function that scores texts, such as their toxicity, which the user names."""

import functools
import importlib
from collections.abc import Callable, Sequence

from palmetto.errors import UserError

Scorer = Callable[[Sequence[str]], Sequence[float]]
"""Returns a score from 0 to 1 for each text."""

DEFAULT = "profanity_check:predict_prob"
"""A linear model of profanity, in the package alt-profanity-check; no model of toxicity in a wider sense."""


@functools.cache
def load(name: str) -> Scorer:
    """Returns the function MODULE:FUNCTION; raises UserError that names what is missing."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise UserError(f"--scorer {name}: expected MODULE:FUNCTION, such as {DEFAULT}")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        hint = "; pip install alt-profanity-check" if name == DEFAULT else ""
        raise UserError(f"--scorer {name}: no module {error.name}{hint}, or another MODULE:FUNCTION") from None
    if not callable(found):
        raise UserError(f"--scorer {name}: {module} has no function {function}")
    return lambda texts: [float(score) for score in found(list(texts))]
