"""Reads what a ladder is asked for, before JAX is imported."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from palmetto.errors import UserError
from palmetto.recipe import Recipe, loading
from palmetto.sweeps import children

_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_NUMBER = re.compile(r"(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)([kMBT]?)")


_MOST = 1e15
"""The largest number that is taken: more parameters or tokens than any model has had."""


class Request(NamedTuple):
    """Holds what a ladder is asked for."""

    base: Recipe
    """The recipe of the family."""
    sizes: list[float]
    ratios: list[float]
    """The tokens per parameter."""
    predict: Recipe | None
    """The recipe whose loss is predicted."""
    out: Path


def read(
    recipe: str,
    overrides: Sequence[str],
    sizes: str,
    ratios: str,
    predict: str | None,
    source: str | None,
    out: Path | None,
) -> Request:
    """Returns the request. Raises UserError that names what cannot be."""
    base = loading.load(recipe, [*overrides, *([loading.override("corpus.source", source)] if source else [])])
    if base.corpus.source is None:
        raise UserError(f"{recipe} names no text: give --source PATH, or corpus.source in the recipe")
    target = None if predict is None else loading.load(predict)
    if target is not None and target.tokens != base.tokens:
        raise UserError(
            f"--predict {predict}: a vocabulary of {_tokens(target)}, and {recipe} has one of {_tokens(base)}; "
            "expected the same, since losses of other tokens cannot be compared"
        )
    if target is not None and target.training.objective != base.training.objective:
        raise UserError(
            f"--predict {predict}: training.objective={target.training.objective.name}, and {recipe} has "
            f"{base.training.objective.name}; expected the same, since losses of other objectives cannot be compared"
        )
    folder = children.directory(out, base.name, "ladder", {base.corpus.source})
    asked = numbers(sizes, "--sizes"), numbers(ratios, "--tokens-per-parameter")
    return Request(base, *asked, target, folder)


def numbers(text: str, option: str) -> list[float]:
    """Reads numbers such as 200k,1.5M,4e6.

    Raises UserError if one has another form, is 0 or absurd, or is given twice.
    """
    found: list[float] = []
    for piece in (piece.strip() for piece in text.split(",")):
        match = _NUMBER.fullmatch(piece)
        value = float(match[1]) * _FACTORS[match[2]] if match else 0.0
        if not 0 < value <= _MOST:
            raise UserError(
                f"{option} {text!r}: {piece!r} is no number above 0 and up to {_MOST:g}; expected some, "
                "as in 200k,1.5M,4e6"
            )
        if value in found:
            raise UserError(f"{option} {text!r}: {piece} is given twice")
        found.append(value)
    return found


def _tokens(recipe: Recipe) -> str:
    tokens = recipe.tokens
    return f"{tokens.vocabulary_size:,} ({tokens.vocabulary}) in windows of {tokens.sequence_length:,}"
