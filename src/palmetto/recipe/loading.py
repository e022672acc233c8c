"""Reads a shipped recipe or a YAML file, and applies dotted overrides."""

import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from palmetto.errors import UserError, nearest
from palmetto.recipe import core_schema, messages
from palmetto.recipe.recipe import Recipe

Shelf = Literal["pretraining", "finetuning"]
"""The purpose of a shipped recipe. Recipes of fine-tuning leave out what comes from its base."""
_SHELVES: dict[Shelf, str] = {"pretraining": "library", "finetuning": "library/finetuning"}


def names(shelf: Shelf = "pretraining") -> list[str]:
    """Returns the sorted names of the shipped recipes."""
    files = resources.files("palmetto.recipe").joinpath(_SHELVES[shelf]).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def describe(name: str, shelf: Shelf = "pretraining") -> str:
    """Returns the description of a shipped recipe, which is the comment in its first line."""
    return _shipped(name, shelf).partition("\n")[0].lstrip("# ")


def load(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a shipped recipe or a YAML file, and applies `key.path=value` overrides, whose values are YAML.

    Raises UserError that names the file or key, its value, what was expected and the nearest valid name.
    """
    return _resolved(_values(recipe, "pretraining"), overrides)


def finetune(recipe: str, base: Recipe, begun: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe of fine-tuning and applies overrides, like `load`; vocabulary and model are the base's.

    `begun` is the section `finetuning`.
    """
    values = _values(recipe, "finetuning")
    own = values["name"]
    threads = {"threads": base.training.threads}  # so that both can be served together
    inherited = {
        "training": threads,
        "tokens": base.tokens.model_dump(),
        "model": base.model.model_dump() | {"lora": None},
    }
    values = _over(inherited, values) | {"finetuning": begun, "name": f"{base.name}-{own}"}
    return _resolved(values, overrides)


def _values(recipe: str, shelf: Shelf) -> dict[str, Any]:
    """Returns the plain values of a shipped recipe or a YAML file, with its name."""
    if recipe in names(shelf):
        text, name = _shipped(recipe, shelf), recipe
    elif (file := Path(os.path.expanduser(recipe))).is_file():
        text, name = _read(file), file.stem
    else:
        raise UserError(
            _missing(str(file), shelf) if recipe else "RECIPE: expected a name or a YAML file, found nothing"
        )
    values = core_schema.parse(text, recipe)
    if not isinstance(values, dict):
        found = "nothing" if values is None else "a list" if isinstance(values, list) else repr(values)[:40]
        raise UserError(f"{recipe}: expected a recipe's keys ({', '.join(Recipe.model_fields)}), found {found}")
    values.setdefault("name", name)
    return values


def _over(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Returns nested values with others laid over them; a section of another kind replaces one."""
    merged = dict(values)
    for key, value in others.items():
        inner, merged[key] = values.get(key), value
        if isinstance(inner, dict) and isinstance(value, dict) and value.get("name") in (None, inner.get("name")):
            merged[key] = _over(inner, value)
    return merged


def _resolved(values: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    for override in overrides:
        _apply(values, override)
    _expand_home(values)
    _read_template(values)
    return validate(values)


def validate(values: dict[str, Any]) -> Recipe:
    """Converts plain values to a Recipe. Raises UserError, with the first error in one line, if they are not valid."""
    try:
        return Recipe.model_validate(values)
    except UserError:
        raise
    except ValidationError as error:
        errors = error.errors()  # an unknown key comes first, since it may be a missing one misspelt
        raise UserError(
            messages.explain(next((e for e in errors if e["type"] == "extra_forbidden"), errors[0]))
        ) from None


def every_key() -> list[str]:
    """Returns the dotted keys that a recipe can have, with those of every kind of a section."""
    return messages.known_keys(Recipe, None)


def dump(recipe: Recipe) -> str:
    """Writes a fully resolved recipe as YAML that `load` reads back to the same value."""
    return core_schema.dump(recipe.model_dump())


def override(key: str, text: str) -> str:
    """Returns the override that sets `key` to `text`, with any special characters escaped."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'{key}="{"".join(plain)}"'


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 (byte {error.start}), so not a recipe") from None


def _missing(recipe: str, shelf: Shelf) -> str:
    """Returns the message for a name or path that is not a recipe."""
    path = Path(recipe)
    if path.is_dir():
        return f"{recipe}: a folder; expected a YAML file or a shipped recipe"
    if path.suffix in (".yaml", ".yml") or path.name != recipe:
        beside = [str(file) for file in path.parent.glob("*.y*ml")]
        near = nearest(recipe, [*beside, *names(shelf)])
        return f"{recipe}: no such file{near}; `palmetto recipes` lists the shipped ones"
    return (
        f"{recipe}: neither a shipped recipe nor a file{nearest(recipe, names(shelf))}; shipped are "
        f"{', '.join(names(shelf))}"
    )


def _shipped(name: str, shelf: Shelf) -> str:
    return Path(str(resources.files("palmetto.recipe").joinpath(_SHELVES[shelf]))).joinpath(f"{name}.yaml").read_text()


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r}: an override is key.path=value, as in training.steps=100")
    section: dict[Any, Any] = values
    # The stages of a batch ramp have numbers as keys: training.batch_size.100=16.
    *path, last = (int(part) if re.fullmatch("[0-9]{1,18}", part) else part for part in key.split("."))
    for part in path:
        inner = section.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UserError(f"{key}: {part} is a value, not a section")
        section = inner
    section[last] = core_schema.parse(text, key)


def _read_template(values: dict[str, Any]) -> None:
    """Puts the content of a file in the place of its name: a chat template without a brace would write no message."""
    tokens = values.get("tokens")
    if not isinstance(tokens, dict):
        return
    name = tokens.get("chat_template")
    if isinstance(name, str) and "{" not in name:
        try:
            tokens["chat_template"] = Path(os.path.expanduser(name)).read_text("utf-8-sig")
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "not text in UTF-8"
            raise UserError(
                f"tokens.chat_template={name}: expected a Jinja template or a file of one ({reason})"
            ) from None


def _expand_home(values: dict[str, Any]) -> None:
    """Replaces ~ in the paths outside a run's identity. Other paths keep it until their files are opened."""
    corpus, training = values.get("corpus"), values.get("training")
    places: list[tuple[Any, str]] = [(corpus, "source")]
    for outer, section, key in ((corpus, "build", "root"), (training, "evaluations", "data")):
        places += [(outer.get(section), key)] if isinstance(outer, dict) else []
    for section, key in places:
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = os.path.expanduser(section[key])
