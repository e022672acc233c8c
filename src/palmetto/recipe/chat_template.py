"""Turns the messages of a chat into text, by a Jinja template in a sandbox."""

import re
from collections.abc import Sequence
from typing import NoReturn, TypedDict

from jinja2 import TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from palmetto.errors import UserError
from palmetto.recipe.guard import Guard, mark, one_of
from palmetto.recipe.segments import Segment, Special

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

    def __init__(self, source: str | None, name: str, specials: Sequence[Special] = ()) -> None:
        """Takes a template in the form that Hugging Face uses, None for a transcript, and the name of its option.

        specials: the special tokens that the template, but no message, may write by their names. Raises UserError,
        which begins with the name, if it is not a Jinja template, or does not write the messages.
        """
        self.source = TRANSCRIPT if source is None else source
        self.stops = [NEXT_TURN] if source is None else []
        self._eod = mark()
        self._guard = Guard([special.name for special in specials])
        self._specials = {special.name: special for special in specials}
        self._written = re.compile(one_of([self._eod, *self._specials]))
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
        guarded = [{**message, "content": self._guard.put(message["content"])} for message in messages]
        values = {"messages": guarded, "add_generation_prompt": answering}
        try:
            return self._template.render(values, bos_token="", eos_token=self._eod)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise UserError(f"the chat template does not take them ({error})") from None

    def _cut(self, text: str, predicted: bool) -> list[Segment]:
        """Returns the segments of a text, each up to a special token of the template; none is without both."""
        segments, start, taken = list[Segment](), 0, False
        for found in self._written.finditer(text):
            special = self._specials.get(found[0])
            before = text[start : found.start()].lstrip() if taken else text[start : found.start()]
            before = before.rstrip() if special and special.left else before
            ends, name = special is None, special.name if special else ""
            segments.append(Segment(self._guard.remove(before), predicted, ends, name))
            start, taken = found.end(), special is not None and special.right
        last = self._guard.remove(text[start:].lstrip() if taken else text[start:])
        return [*segments, *([Segment(last, predicted)] if last else [])]


def _behind(beginning: str, text: str, number: int) -> str:
    if not text.startswith(beginning):
        raise UserError(
            f"message {number + 1}: the chat template changes the text before it; expected one that only adds text"
        )
    return text[len(beginning) :]


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
