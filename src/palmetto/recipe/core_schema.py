"""Reads and writes YAML by the core schema of version 1.2.

In this schema 010 is ten, and 1:30, 2024-02-30 and `no` are text (a recipe reads `no` as false where it expects a
boolean). As an extension, 1_000 is a thousand. A key may appear only once, and deep nesting is refused.
"""

import re
from typing import Any, ClassVar

import yaml

from palmetto.errors import UserError
from palmetto.recipe.section import PaddedNumber

_DEEPEST = 32
"""The deepest allowed nesting of mappings and lists; a recipe has six levels."""
_LONGEST = 40
"""The most characters of a whole number; no value of a recipe has as many digits."""
_NAMES = "tag:yaml.org,2002:"
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_FORMS = {  # type → regular expression of its plain text, and the characters with which that can begin
    "null": (r"~|null|Null|NULL|", [*"~nN", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (rf"[-+]?{_DIGITS}|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        rf"[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.(?:{_DIGITS})?)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}


def parse(text: str, origin: str) -> Any:
    """Parses a YAML text. Raises UserError that names `origin`, line and column if the text is not valid."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{origin}{where}: not YAML: {error.problem} {error.context or ''}".rstrip()) from None
    except yaml.reader.ReaderError as error:
        raise UserError(f"{origin}: not YAML: character {error.position + 1}: {error.reason}") from None


def dump(values: dict[str, Any]) -> str:
    """Writes plain values as YAML that `parse` reads back. Text that some YAML version reads otherwise is quoted."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


class _Loader(yaml.SafeLoader):
    """A loader that knows only the types of the core schema."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        None: yaml.SafeLoader.construct_undefined,
        f"{_NAMES}str": yaml.SafeLoader.construct_yaml_str,
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _refused(f"nested more than {_DEEPEST} deep", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """A dumper that also knows the types of version 1.1, which other readers may use."""


_Loader.yaml_implicit_resolvers = {}
for _name, (_form, _first) in _FORMS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_NAMES}{_name}", re.compile(rf"^(?:{_form})\Z"), _first)


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    pairs = [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
    seen: list[Any] = []
    for (key, _), (at, _) in zip(pairs, node.value, strict=True):
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise _refused(f"{key!r} cannot be a key", at.start_mark)
        if key in seen:
            raise _refused(f"the key {key!r} appears twice", at.start_mark)
        seen.append(key)
    return dict(pairs)


def _list(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return loader.construct_sequence(node, deep=True)


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> bool | int | float | None:
    """Returns the value of plain text, or of text with an explicit tag."""
    kind, text = node.tag.removeprefix(_NAMES), loader.construct_scalar(node)
    if not re.fullmatch(_FORMS[kind][0], text):
        raise _refused(f"{text[:_LONGEST]!r} is not of the type {kind}", node.start_mark)
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return _integer(text, node)
        case _:
            return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


def _integer(text: str, node: yaml.ScalarNode) -> int:
    if len(text) > _LONGEST:
        raise _refused(f"a number of {len(text)} digits", node.start_mark)
    digits = text.replace("_", "")
    base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
    number = int(digits if base == 10 else digits[2:], base)
    return number if digits == str(number) else PaddedNumber(number, text)


_Loader.add_constructor(f"{_NAMES}map", _mapping)
_Loader.add_constructor(f"{_NAMES}seq", _list)
for _name in _FORMS:
    _Loader.add_constructor(f"{_NAMES}{_name}", _scalar)
