"""Turns the messages of a chat into one text, by a Jinja template in a sandbox."""

from typing import NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from palmetto.errors import UserError
from palmetto.serving.errors import bad
from palmetto.serving.parameters import Message

TRANSCRIPT = """\
{% for message in messages -%}
{{ message.role | capitalize }}: {{ message.content }}

{% endfor -%}
Assistant:"""
"""The default, for models that were only pretrained: a conversation as it could stand in a document."""

NEXT_TURN = "\n\nUser:"
"""What ends an answer within a transcript, which a pretrained model would otherwise carry on by itself."""


class ChatTemplate:
    """Makes the prompt of a chat."""

    def __init__(self, source: str | None) -> None:
        """Takes a template in the form that Hugging Face uses, None for a transcript.

        Raises UserError if it is not a Jinja template.
        """
        self.source = TRANSCRIPT if source is None else source
        self.stops = [NEXT_TURN] if source is None else []
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(self.source)
        except TemplateError as error:
            raise UserError(f"--chat-template: not a Jinja template ({error})") from None

    def render(self, messages: list[Message]) -> str:
        """Returns the text; raises ApiError if the template refuses the messages."""
        values = [{"role": message.role, "content": message.text} for message in messages]
        try:
            return self._template.render(messages=values, add_generation_prompt=True, bos_token="", eos_token="")
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise bad("messages", f"the model's template does not take them ({error})") from None


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
