"""Turns the messages of a chat into text, by a Jinja template in a sandbox."""

import secrets
from collections.abc import Sequence
from typing import NoReturn, TypedDict

from jinja2 import TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from palmetto.errors import UserError
from palmetto.recipe.segments import Segment

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

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        """Returns the text that the assistant's next message continues; raises UserError if the template refuses.

        It is cut as in training, so that it has the same ids, unless the template changes earlier text.
        """
        whole = self._render(messages, answering=True)
        answered = max((place + 1 for place, each in enumerate(messages) if each["role"] == "assistant"), default=0)
        try:
            history = self.segments(messages[:answered]) if answered else []
            rest = _behind(self._render(messages[:answered], answering=False) if answered else "", whole, answered)
        except UserError:
            history, rest = [], whole
        return [*history, *self._cut(rest, predicted=False)]

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """Returns the text of a whole chat, cut where messages of the assistant begin and end.

        Such a message is what follows the prompt of those before it, with all that the template writes behind it.
        Raises UserError if the template refuses the messages, or changes earlier text when a message is added.
        """
        segments, known = [], ""
        for number in [number for number, message in enumerate(messages) if message["role"] == "assistant"]:
            prompt = self._render(messages[:number], answering=True)
            answered = self._render(messages[: number + 1], answering=False)
            segments += self._cut(_behind(known, prompt, number), predicted=False)
            segments += self._cut(_behind(prompt, answered, number), predicted=True)
            known = answered
        rest = _behind(known, self._render(messages, answering=False), len(messages) - 1)
        return segments + self._cut(rest, predicted=False)

    def _render(self, messages: Sequence[Message], answering: bool) -> str:
        values = {"messages": list(messages), "add_generation_prompt": answering}
        try:
            return self._template.render(values, bos_token="", eos_token=self._eod)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise UserError(f"the chat template does not take them ({error})") from None

    def _cut(self, text: str, predicted: bool) -> list[Segment]:
        """Returns the segments of a text, each up to an `eos_token` of the template, none empty."""
        *ended, last = text.split(self._eod)
        return [*(Segment(part, predicted, True) for part in ended), *([Segment(last, predicted)] if last else [])]


def _behind(beginning: str, text: str, number: int) -> str:
    if not text.startswith(beginning):
        raise UserError(
            f"message {number + 1}: the chat template changes the text before it; expected one that only adds text"
        )
    return text[len(beginning) :]


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
