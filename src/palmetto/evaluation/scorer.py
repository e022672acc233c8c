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
    except Exception as error:  # whatever the module raises
        raise UserError(f"--scorer {name}: {module} cannot be imported ({type(error).__name__}: {error})") from None
    if not callable(found):
        raise UserError(f"--scorer {name}: {module} has no function {function}")

    def score(texts: Sequence[str]) -> list[float]:
        try:
            scores = [float(each) for each in found(list(texts))]
        except Exception as error:  # whatever the function raises
            raise UserError(f"--scorer {name}: {type(error).__name__}: {error}") from None
        if len(scores) != len(texts) or not all(0 <= each <= 1 for each in scores):
            raise UserError(
                f"--scorer {name}: gave {str(scores)[:60]} for {len(texts)} texts; expected as many from 0 to 1"
            )
        return scores

    return score
