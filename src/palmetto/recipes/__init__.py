"""The shipped recipes, and reading one: a name or a YAML file, then dotted overrides."""

import difflib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from palmetto.errors import UserError, nearest
from palmetto.recipe import Adafactor, AdamW, Cosine, InverseSqrt, Recipe, Section


def names() -> list[str]:
    """The shipped recipes, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def describe(name: str) -> str:
    """The first line of a shipped recipe, a comment that says what it is."""
    return _shipped(name).partition("\n")[0].lstrip("# ")


def load(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a shipped recipe or a YAML file and applies `key.path=value` overrides (values in YAML).

    Raises UserError naming the file or key, its value, what was expected and the nearest valid name.
    """
    if recipe in names():
        text, origin = _shipped(recipe), recipe
    elif Path(recipe).is_file():
        text, origin = _read(recipe), recipe
    else:
        raise UserError(f"{recipe}: neither a shipped recipe nor a YAML file{nearest(recipe, names())}; "
                        f"shipped: {', '.join(names())}")  # fmt: skip
    values = _parse(text, origin)
    if not isinstance(values, dict):
        raise UserError(f"{origin}: expected a mapping of recipe keys, found {type(values).__name__}")
    values.setdefault("name", Path(origin).stem)
    for override in overrides:
        _apply(values, override)
    return validate(values)


def validate(values: dict[str, Any]) -> Recipe:
    """Checks plain values into a Recipe; the first thing wrong is raised as one line."""
    try:
        return Recipe.model_validate(values)
    except UserError:
        raise
    except ValidationError as error:
        raise UserError(_explain(error.errors()[0])) from None


def dump(recipe: Recipe) -> str:
    """A recipe, fully resolved, as YAML that `load` reads back to the same value."""
    return yaml.dump(recipe.model_dump(), Dumper=_Dumper, sort_keys=False)


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 (byte {error.start}), so not a recipe") from None


def _shipped(name: str) -> str:
    return Path(str(resources.files(__name__))).joinpath(f"{name}.yaml").read_text()


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-2 is a number (YAML 1.1 wants 1.0e-2) and a repeated key is an error."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads: text that looks like a number to it is quoted."""


_NUMBER = (
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.[\d_]*)?([eE][-+]?\d+)|\d[\d_]*\.[\d_]*|\.\d+([eE][-+]?\d+)?|\.(inf|nan))$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(*_NUMBER)
_Dumper.add_implicit_resolver(*_NUMBER)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    pairs = [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
    keys = [key for key, _ in pairs]
    for key in keys:
        if not isinstance(key, str | int):
            raise yaml.YAMLError(f"{key!r} cannot be a key")
        if keys.count(key) > 1:
            raise yaml.YAMLError(f"the key {key!r} appears twice")
    return dict(pairs)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _parse(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{origin}: not YAML: {' '.join(str(error).split())}") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r}: an override is key.path=value, as in training.steps=100")
    section: dict[Any, Any] = values
    # A ramp's stages have numbers as keys: training.batch_size.100=16.
    *path, last = (int(part) if part.isdigit() else part for part in key.split("."))
    for part in path:
        inner = section.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UserError(f"{key}: {part} is a value, not a section")
        section = inner
    section[last] = _parse(text, key)


def _explain(error: ErrorDetails) -> str:
    if error["type"] == "value_error":  # raised by a validator of ours, which named the key
        return str(error["ctx"]["error"])
    path, kind = [str(part) for part in error["loc"]], None
    if len(path) > 3 and path[1] in _CHOICES:  # training.optimizer.adamw.b3: the chosen kind stands in the path
        kind = path.pop(2)
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key{f' of {kind}' if kind else ''}{_nearest_key(key, kind)}"
    if error["type"] == "missing":
        return f"{key}: missing; a recipe must give it"
    if error["type"] == "union_tag_invalid":
        given, offered = error["ctx"]["tag"], error["ctx"]["expected_tags"]
        return f"{key}.name={given!r}: expected one of {offered}{nearest(given, re.findall(r'[a-z_]+', offered))}"
    return f"{key}={error['input']!r}: {error['msg'].lower()}"


_CHOICES: dict[str, dict[str, type[Section]]] = {
    "optimizer": {"adafactor": Adafactor, "adamw": AdamW},
    "schedule": {"inverse_sqrt": InverseSqrt, "cosine": Cosine},
}


def _nearest_key(key: str, kind: str | None) -> str:
    known = _known_keys(Recipe, kind)
    same_name = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    close = same_name or difflib.get_close_matches(key, known, 1, 0.5)
    return f" (did you mean {close[0]!r}?)" if close else f"; known keys: {', '.join(known)}"


def _known_keys(section: type[Section], kind: str | None, prefix: str = "") -> list[str]:
    """Dotted keys; of a section with a choice those of `kind` if it is one of them, else those of all."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(f"{prefix}{name}")
        choices = _CHOICES.get(name, {})
        kinds = [choices[kind]] if kind in choices else [*choices.values(), field.annotation]
        for inner in kinds:
            if isinstance(inner, type) and issubclass(inner, Section):
                keys += [k for k in _known_keys(inner, kind, f"{prefix}{name}.") if k not in keys]
    return keys
