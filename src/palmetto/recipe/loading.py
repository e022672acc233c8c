"""The shipped recipes, and reading one: a name or a YAML file, then dotted overrides."""

import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from palmetto.errors import UserError, nearest
from palmetto.recipe import core_schema, messages
from palmetto.recipe.recipe import Recipe


def names() -> list[str]:
    """The shipped recipes, sorted."""
    files = resources.files("palmetto.recipe").joinpath("library").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def describe(name: str) -> str:
    """The first line of a shipped recipe, a comment that says what it is."""
    return _shipped(name).partition("\n")[0].lstrip("# ")


def load(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a shipped recipe or a YAML file and applies `key.path=value` overrides (values in YAML).

    Raises UserError naming the file or key, its value, what was expected and the nearest valid name.
    """
    if recipe in names():
        text, name = _shipped(recipe), recipe
    elif (file := Path(os.path.expanduser(recipe))).is_file():
        text, name = _read(file), file.stem
    else:
        raise UserError(_missing(str(file)) if recipe else "RECIPE: expected a name or a YAML file, found nothing")
    values = core_schema.parse(text, recipe)
    if not isinstance(values, dict):
        found = "nothing" if values is None else "a list" if isinstance(values, list) else repr(values)[:40]
        raise UserError(f"{recipe}: expected a recipe's keys ({', '.join(Recipe.model_fields)}), found {found}")
    values.setdefault("name", name)
    for override in overrides:
        _apply(values, override)
    _come_home(values)
    return validate(values)


def validate(values: dict[str, Any]) -> Recipe:
    """Checks plain values into a Recipe; the first thing wrong is raised as one line."""
    try:
        return Recipe.model_validate(values)
    except UserError:
        raise
    except ValidationError as error:
        errors = error.errors()  # an unknown key first: it may be the missing one, misspelt
        raise UserError(
            messages.explain(next((e for e in errors if e["type"] == "extra_forbidden"), errors[0]))
        ) from None


def every_key() -> list[str]:
    """The dotted keys that a recipe can have, those of all kinds of a section included."""
    return messages.known_keys(Recipe, None)


def dump(recipe: Recipe) -> str:
    """A recipe, fully resolved, as YAML that `load` reads back to the same value."""
    return core_schema.dump(recipe.model_dump())


def override(key: str, text: str) -> str:
    """The override that sets a key to a text, whatever characters are in it."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'{key}="{"".join(plain)}"'


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 (byte {error.start}), so not a recipe") from None


def _missing(recipe: str) -> str:
    """Why there is no such recipe: it is a path to nothing, or not a name."""
    path = Path(recipe)
    if path.is_dir():
        return f"{recipe}: a folder; expected a YAML file or a shipped recipe"
    if path.suffix in (".yaml", ".yml") or path.name != recipe:
        beside = [str(file) for file in path.parent.glob("*.y*ml")]
        return (
            f"{recipe}: no such file{nearest(recipe, [*beside, *names()])}; `palmetto recipes` lists the shipped ones"
        )
    return f"{recipe}: neither a shipped recipe nor a file{nearest(recipe, names())}; shipped are {', '.join(names())}"


def _shipped(name: str) -> str:
    return Path(str(resources.files("palmetto.recipe").joinpath("library"))).joinpath(f"{name}.yaml").read_text()


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r}: an override is key.path=value, as in training.steps=100")
    section: dict[Any, Any] = values
    # A ramp's stages have numbers as keys: training.batch_size.100=16.
    *path, last = (int(part) if re.fullmatch("[0-9]{1,18}", part) else part for part in key.split("."))
    for part in path:
        inner = section.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UserError(f"{key}: {part} is a value, not a section")
        section = inner
    section[last] = core_schema.parse(text, key)


def _come_home(values: dict[str, Any]) -> None:
    """Puts home for ~ in the paths that are no part of a run's identity; others keep it until they are looked for."""
    corpus = values.get("corpus")
    if isinstance(corpus, dict):
        for section, key in ((corpus, "source"), (corpus.get("build"), "root")):
            if isinstance(section, dict) and isinstance(section.get(key), str):
                section[key] = os.path.expanduser(section[key])
