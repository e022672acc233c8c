"""Reads the axes of a sweep from the command line."""

import re
from collections import Counter
from typing import NamedTuple

from palmetto.errors import UserError

SEED = "training.seed"
"""The key that no axis sets: every choice is trained with the same seeds."""

_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""", re.DOTALL)
_BUNDLE = re.compile(r"""([^\s:{}\[\],"']+):\s*(\{.*\})""", re.DOTALL)


class Axis(NamedTuple):
    """One dimension of a sweep."""

    name: str
    choices: dict[str, tuple[str, ...]]
    """Maps the label of each choice to its overrides."""


def split(text: str) -> list[str]:
    """Splits a text at its commas, except those inside YAML's brackets, braces or quotation marks.

    Joining the pieces by commas gives the text again. Raises UserError if something is not closed.
    """
    pieces, start, at, previous = [], 0, 0, ","
    closing: list[str] = []
    while at < len(text):
        character = text[at]
        if character in "\"'" and previous in ",:[{":  # elsewhere it is a letter, as in don't
            quoted = _QUOTED.match(text, at)
            if quoted is None:
                raise UserError(f"{text!r}: the quotation mark {character} is not closed")
            at = quoted.end()
            previous = character
            continue
        if character in "[{":
            closing.append("]" if character == "[" else "}")
        elif character in "]}":
            if not closing or closing.pop() != character:
                raise UserError(f"{text!r}: {character} closes nothing")
        elif character == "," and not closing:
            pieces.append(text[start:at])
            start = at + 1
        if not character.isspace():
            previous = character
        at += 1
    if closing:
        raise UserError(f"{text!r}: {closing[-1]} is missing")
    return [*pieces, text[start:]]


def parse_axis(text: str) -> Axis:
    """Reads an axis: KEY=VALUE,VALUE,… for a key of a recipe, or NAME=LABEL:{KEY: VALUE, …},… for bundles of values.

    Raises UserError if the text has another form, a value is empty or a label is repeated.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not name:
        raise UserError(f"{text!r}: an axis is KEY=VALUE,VALUE,… as in model.block=parallel,serial")
    pieces = [piece.strip() for piece in split(values)]
    if not all(pieces):
        raise UserError(f"{name}={values}: an empty value; expected VALUE,VALUE,… (null for none)")
    bundles = [match for piece in pieces if (match := _BUNDLE.fullmatch(piece))]
    if bundles and len(bundles) < len(pieces):
        raise UserError(f"{name}={values}: some are LABEL:{{KEY: VALUE}} and some are not; expected all or none")
    if bundles:
        found = [(bundle[1], _overrides(name, bundle[2])) for bundle in bundles]
    else:
        found = [(piece, (f"{name}={piece}",)) for piece in pieces]
    choices = dict(found)
    if len(choices) < len(found):
        label, _ = Counter(label for label, _ in found).most_common(1)[0]
        raise UserError(f"{name}={values}: {label} is given twice")
    if any(override.startswith(f"{SEED}=") for overrides in choices.values() for override in overrides):
        raise UserError(
            f"{name}={values}: seeds are no axis; --seeds {len(pieces)} trains every choice with {SEED} 0 to "
            f"{len(pieces) - 1}"
        )
    return Axis(name, choices)


def _overrides(axis: str, bundle: str) -> tuple[str, ...]:
    """Returns the overrides key=value of a bundle {key: value, …}."""
    inner = bundle[1:-1].strip()
    overrides = []
    for piece in split(inner) if inner else ():
        key, colon, value = (part.strip() for part in piece.partition(":"))
        if not colon or not key or not value:
            raise UserError(f"{axis}: {piece.strip()!r} in {bundle}; expected KEY: VALUE")
        overrides.append(f"{key}={value}")
    return tuple(overrides)
