"""Reads the examples of fine-tuning from JSON lines: segments of text, of which some are to be predicted."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.errors import UserError, nearest
from palmetto.recipe.segments import ROLES, Segment

Segments = tuple[Segment, ...]


class Example(NamedTuple):
    """Holds an example: its only sequence, or of two answers the chosen and the rejected one."""

    name: str
    """The file and the line."""
    sequences: tuple[Segments, ...]


class Message(NamedTuple):
    """Holds a message of a chat."""

    role: str
    content: str


Template = Callable[[Sequence[Message]], Segments]
"""Turns a chat into segments, of which the assistant's are predicted. Raises UserError if it does not take the chat."""


def read(path: Path, template: Template) -> Iterator[Example]:
    """Yields the examples of a file; blank lines are none.

    Raises UserError, which names the file and the line, for a line that is no example, and for a file without any.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"--data {path}: cannot be read ({error.strerror}); expected JSON lines") from None
    found = False
    for number, line in enumerate(lines, 1):
        if line.strip():
            found = True
            yield Example(f"{path}:{number}", _sequences(line, f"{path}: line {number}", template))
    if not found:
        raise UserError(f"--data {path}: has no examples; expected JSON lines, as in {_FORMS[0]}")


_FORMS = (
    '{"prompt": …, "target": …}',
    '{"messages": [{"role": …, "content": …}, …]}',
    '{"prompt": …, "chosen": …, "rejected": …}',
    '{"text": …}',
)
_KEYS = ("prompt", "target", "messages", "chosen", "rejected", "text")


def _sequences(line: bytes, where: str, template: Template) -> tuple[Segments, ...]:
    try:
        values = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); expected an object such as {_FORMS[0]}") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: {_shown(values)}; expected an object such as {_FORMS[0]}")
    keys = values.keys()
    if keys == {"messages"}:
        return (_chat(values["messages"], where, template),)
    for key in keys:
        if key in _KEYS and key != "messages" and not isinstance(values[key], str):
            raise UserError(f"{where}: {key}: {_shown(values[key])}; expected text")
    if keys == {"prompt", "target"}:
        return (_answered(values["prompt"], values["target"]),)
    if keys == {"prompt", "chosen", "rejected"}:
        return _answered(values["prompt"], values["chosen"]), _answered(values["prompt"], values["rejected"])
    if keys == {"text"}:
        return ((Segment(values["text"], True),),)
    unknown = next((key for key in keys if key not in _KEYS), None)
    meant = "" if unknown is None else nearest(unknown, _KEYS)
    raise UserError(f"{where}: has the keys {', '.join(map(str, keys)) or 'none'}{meant}; expected {', '.join(_FORMS)}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the pairs as an object; raises ValueError if a key is given twice, of which one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is given twice")
    return found


def _answered(prompt: str, target: str) -> Segments:
    return Segment(prompt, False), Segment(target, True)


def _chat(given: Any, where: str, template: Template) -> Segments:
    if not isinstance(given, list) or not given:
        raise UserError(f"{where}: messages: {_shown(given)}; expected a list of messages")
    messages = []
    for place, each in enumerate(given, 1):
        if not isinstance(each, dict) or each.keys() != {"role", "content"}:
            raise UserError(f'{where}: message {place}: {_shown(each)}; expected {{"role": …, "content": …}}')
        if not isinstance(each["role"], str) or not isinstance(each["content"], str):
            raise UserError(f"{where}: message {place}: {_shown(each)}; expected texts")
        if each["role"] not in ROLES:
            meant = nearest(each["role"], ROLES)
            raise UserError(
                f"{where}: message {place}: role {_shown(each['role'])}{meant}; expected {', '.join(ROLES[:-1])} or "
                f"{ROLES[-1]}"
            )
        messages.append(Message(each["role"], each["content"]))
    try:
        return template(messages)
    except UserError as error:
        raise UserError(f"{where}: messages: {error}") from None


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)[:60]
