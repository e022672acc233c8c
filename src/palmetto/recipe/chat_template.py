"""Turns the messages of a chat into text, by a Jinja template in a sandbox."""

from collections.abc import Sequence
from typing import NoReturn, TypedDict

from jinja2 import TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from palmetto.errors import UserError
from palmetto.recipe.segments import ROLES, Segment, Special
from palmetto.recipe.written import EOD, Names, Written

TRANSCRIPT = """\
{% for message in messages -%}
{{ message.role | capitalize }}: {{ message.content }}

{% endfor -%}
{% if add_generation_prompt %}Assistant:{% endif %}"""
"""The default, for models that were only pretrained: a conversation as it could stand in a document."""

NEXT_TURN = "\n\nUser:"
"""The text that ends an answer within a transcript, which a pretrained model would otherwise carry on by itself."""


_FAULTS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError)
"""Templates raise these when they run."""


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
        self._specials = {special.name: special for special in specials}
        self._names = Names(list(self._specials))
        self._roles = {role: self._names.own(role) for role in ROLES}  # of which templates may make names
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        self._names.install(environment)
        try:
            names = meta.find_undeclared_variables(environment.parse(self.source))
            self._template = environment.from_string(self.source)
            self._exchanged = environment.from_string(self._names.exchanged(environment.parse(self.source)))
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
        segments, known = list[Segment](), Written("")
        for number in [number for number, message in enumerate(messages) if message["role"] == "assistant"]:
            prompt = self._render(messages[:number], answering=True)
            answered = self._render(messages[: number + 1], answering=False)
            segments += self._cut(_behind(known, prompt, number), predicted=False)
            segments += self._cut(_behind(prompt, answered, number), predicted=True)
            known = answered
        rest = _behind(known, self._render(messages, answering=False), len(messages) - 1)
        return segments + self._cut(rest, predicted=False)

    def _render(self, messages: Sequence[Message], answering: bool) -> Written:
        """Returns the text of the messages, with an image that says which names in it are the template's."""
        values = {"add_generation_prompt": answering, "bos_token": ""}
        try:
            text = str(self._template.render(values, messages=list(messages), eos_token=EOD))
        except _FAULTS as error:
            raise UserError(f"the chat template does not take them ({error})") from None
        for number, message in enumerate(messages, 1):
            if self._names.hold(message["content"]):
                raise UserError(f"message {number}: expected no characters for private use from U+100000 on")
        exchanged = [{**each, "role": self._roles.get(each["role"], each["role"])} for each in messages]
        try:
            image = self._exchanged.render(values, messages=exchanged, eos_token=self._names.eos)
        except _FAULTS:
            image = ""
        if self._names.text_of(image) != text:
            raise UserError(
                "the chat template does not take them (it treats names of special tokens in a way that leaves open "
                "which of them are its own); expected a template that only writes them"
            )
        return Written(text, image)

    def _cut(self, text: Written, predicted: bool) -> list[Segment]:
        """Returns the segments of a text, each up to a special token of the template; none is without both."""
        segments, start, taken = list[Segment](), 0, False
        plain = str.__str__(text)
        for found in self._names.find(text):
            special = self._specials[found.name] if found.name is not None else None
            before = plain[start : found.start].lstrip() if taken else plain[start : found.start]
            before = before.rstrip() if special and special.left else before
            segments.append(Segment(before, predicted, special is None, special.name if special else ""))
            start, taken = found.end, special is not None and special.right
        last = plain[start:].lstrip() if taken else plain[start:]
        return [*segments, *([Segment(last, predicted)] if last else [])]


def _behind(beginning: str, text: Written, number: int) -> Written:
    if not text.startswith(beginning):
        raise UserError(
            f"message {number + 1}: the chat template changes the text before it; expected one that only adds text"
        )
    return text[len(beginning) :]


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
