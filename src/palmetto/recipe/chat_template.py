"""Turns the messages of a chat into text, by a Jinja template in a sandbox."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple, NoReturn, TypedDict

from jinja2 import TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from palmetto.errors import UserError

TRANSCRIPT = """\
{% for message in messages -%}
{{ message.role | capitalize }}: {{ message.content }}

{% endfor -%}
{% if add_generation_prompt %}Assistant:{% endif %}"""
"""The default, for models that were only pretrained: a conversation as it could stand in a document."""

NEXT_TURN = "\n\nUser:"
"""What ends an answer within a transcript, which a pretrained model would otherwise carry on by itself."""


class Message(TypedDict):
    """Holds a message of a chat."""

    role: str
    """Who wrote it: system, developer, user or assistant."""
    content: str


class Piece(NamedTuple):
    """Holds a part of the text of a chat. Each is encoded by itself, as an answer is generated behind its prompt."""

    text: str
    answer: bool
    """Says whether the assistant wrote it."""
    ends: bool
    """Says whether [eod] stands behind it, where the template writes `eos_token`."""


class ChatTemplate:
    """Makes the text of a chat."""

    def __init__(self, source: str | None, name: str) -> None:
        """Takes a template in the form that Hugging Face uses, None for a transcript, and the name of its option.

        Raises UserError, which begins with the name, if it is not a Jinja template, or does not write the messages.
        """
        self.source = TRANSCRIPT if source is None else source
        self.stops = [NEXT_TURN] if source is None else []
        self._eod = f"[{secrets.token_hex(16)}]"  # which no message contains
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        try:
            names = meta.find_undeclared_variables(environment.parse(self.source))
            self._template = environment.from_string(self.source)
        except TemplateSyntaxError as error:
            raise UserError(f"{name}: line {error.lineno}: not a Jinja template ({error})") from None
        except TemplateError as error:
            raise UserError(f"{name}: not a Jinja template ({error})") from None
        if "messages" not in names:
            raise UserError(f"{name}: does not write the variable messages; expected a template of a chat")

    def prompt(self, messages: Sequence[Message]) -> list[Piece]:
        """Returns the text that the assistant's next message continues; raises UserError if the template refuses."""
        return self._cut(self._render(messages, answering=True), answer=False)

    def pieces(self, messages: Sequence[Message]) -> list[Piece]:
        """Returns the text of a whole chat, cut where messages of the assistant begin and end.

        Such a message is what follows the prompt of those before it, with all that the template writes behind it.
        Raises UserError if the template refuses the messages, or changes earlier text when a message is added.
        """
        pieces, known = [], ""
        for number in [number for number, message in enumerate(messages) if message["role"] == "assistant"]:
            prompt = self._render(messages[:number], answering=True)
            answered = self._render(messages[: number + 1], answering=False)
            pieces += self._cut(_behind(known, prompt, number), answer=False)
            pieces += self._cut(_behind(prompt, answered, number), answer=True)
            known = answered
        rest = _behind(known, self._render(messages, answering=False), len(messages) - 1)
        return pieces + self._cut(rest, answer=False)

    def _render(self, messages: Sequence[Message], answering: bool) -> str:
        values = {"messages": list(messages), "add_generation_prompt": answering}
        try:
            return self._template.render(values, bos_token="", eos_token=self._eod)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise UserError(f"the chat template does not take them ({error})") from None

    def _cut(self, text: str, answer: bool) -> list[Piece]:
        """Returns the pieces of a text, each up to an [eod], none empty."""
        *ended, last = text.split(self._eod)
        return [*(Piece(part, answer, True) for part in ended), *([Piece(last, answer, False)] if last else [])]


def _behind(beginning: str, text: str, number: int) -> str:
    if not text.startswith(beginning):
        raise UserError(
            f"message {number + 1}: the chat template changes the text before it; expected one that only adds text"
        )
    return text[len(beginning) :]


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
