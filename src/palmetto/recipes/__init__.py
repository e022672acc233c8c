"""The shipped recipes, and reading one: a name or a YAML file, then dotted overrides."""

import difflib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from palmetto.errors import UserError, nearest
from palmetto.recipe import Recipe
from palmetto.recipe.model import Attention, Positions
from palmetto.recipe.objectives import Objective
from palmetto.recipe.section import Section
from palmetto.recipe.training import Adafactor, AdamW, Cosine, InverseSqrt


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
        text, name = _shipped(recipe), recipe
    elif Path(recipe).is_file():
        text, name = _read(recipe), Path(recipe).stem
    else:
        raise UserError(f"{recipe}: neither a shipped recipe nor a YAML file{nearest(recipe, names())}; "
                        f"shipped: {', '.join(names())}")  # fmt: skip
    values = _parse(text, recipe)
    if not isinstance(values, dict):
        raise UserError(f"{recipe}: expected a mapping of recipe keys, found {type(values).__name__}")
    values.setdefault("name", name)
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
        errors = error.errors()  # an unknown key first: it may be the missing one, misspelt
        raise UserError(_explain(next((e for e in errors if e["type"] == "extra_forbidden"), errors[0]))) from None


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
        return f"{key}: no such key{f' of {kind}' if kind else ''}{_owners(path) or _nearest_key(key, kind)}"
    if error["type"] == "missing":
        return f"{key}: missing; a recipe must give it"
    if error["type"] == "union_tag_invalid":
        given, offered = error["ctx"]["tag"], error["ctx"]["expected_tags"]
        usual = _OTHER_NAMES.get(given, given)
        return f"{key}.name={given!r}: expected one of {offered}{nearest(usual, re.findall(r'[a-z0-9_]+', offered))}"
    if error["type"] == "model_attributes_type" and path[-1] in _CHOICES:
        name = _OTHER_NAMES.get(str(error["input"]), str(error["input"]))
        kinds = _CHOICES[path[-1]]
        return f"{key}={error['input']!r}: a section, as in {key}.name={name if name in kinds else next(iter(kinds))}"
    message = error["msg"]
    return f"{key}={error['input']!r}: {message[:1].lower()}{message[1:]}"


_CHOICES: dict[str, dict[str, type[Section]]] = {
    section: {kind.model_fields["name"].default: kind for kind in get_args(kinds)}
    for section, kinds in {
        "positions": Positions,
        "attention": Attention,
        "objective": Objective,
        "optimizer": Adafactor | AdamW,
        "schedule": InverseSqrt | Cosine,
    }.items()
}


_OTHER_NAMES = {
    "rope": "rotary",
    "absolute": "learned",
    "relative": "t5",
    "sliding_window": "local",
    "ul2": "mixture",
}
"""What the kinds of a section are called elsewhere, where the spelling is no hint."""


def _owners(path: list[str]) -> str:
    """For a key that other kinds of a section have, which do."""
    *section, key = path
    choices = _CHOICES.get(section[-1], {}) if section else {}
    owners = [name for name, kind in choices.items() if key in kind.model_fields]
    return f"; with {'.'.join(section)}.name={' or '.join(owners)} there is one" if owners else ""


def _nearest_key(key: str, kind: str | None) -> str:
    """A known key: of nearly this name in the section, of the same name anywhere, or as near as there is."""
    known = _known_keys(Recipe, kind)
    key = ".".join(part for part in key.split(".") if not part.isdigit())  # denoisers.0.noise
    section, _, name = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    close = (
        [siblings[near] for near in difflib.get_close_matches(name, siblings, 1, 0.8)]
        or [k for k in known if k.rpartition(".")[2] == name]
        or [siblings[near] for near in difflib.get_close_matches(name, siblings, 1, 0.5)]
        or difflib.get_close_matches(key, [k for k in known if not key.startswith(f"{k}.")], 1, 0.5)
    )
    return f" (did you mean {close[0]!r}?)" if close else f"; known keys: {', '.join(known)}"


def _known_keys(section: type[Section], kind: str | None, prefix: str = "") -> list[str]:
    """Dotted keys; of a section with a choice those of `kind` if it is one of them, else those of all."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(f"{prefix}{name}")
        choices = _CHOICES.get(name, {})
        # An optional section is a union, a list of sections a tuple: get_args gives what they are made of.
        kinds = (
            [choices[kind]] if kind in choices else [*choices.values(), field.annotation, *get_args(field.annotation)]
        )
        for inner in kinds:
            if isinstance(inner, type) and issubclass(inner, Section):
                keys += [k for k in _known_keys(inner, kind, f"{prefix}{name}.") if k not in keys]
    return keys
