"""Templates turn chats into text, and reach nothing else."""

import pytest

from palmetto.errors import UserError
from palmetto.serving.errors import ApiError
from palmetto.serving.parameters import Message
from palmetto.serving.templates import ChatTemplate

CHAT = [Message(role="system", content="Be brief."), Message(role="user", content="{{ 7 * 7 }}")]


def test_the_default_is_a_transcript() -> None:
    template = ChatTemplate(None)
    assert template.render(CHAT) == "System: Be brief.\n\nUser: {{ 7 * 7 }}\n\nAssistant:"
    assert template.stops == ["\n\nUser:"]


def test_a_template_of_hugging_face_works() -> None:
    source = (
        "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] | trim }}\n"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    assert ChatTemplate(source).render(CHAT) == "<|system|>\nBe brief.\n<|user|>\n{{ 7 * 7 }}\n<|assistant|>\n"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception('no system messages') }}",
        "{{ 1 / 0 }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_that_does_not_fit_refuses_the_messages(source: str) -> None:
    with pytest.raises(ApiError, match=r"^messages: ") as refused:
        ChatTemplate(source).render(CHAT)
    assert refused.value.status == 400


def test_a_mistake_in_a_template_is_found_at_the_start() -> None:
    with pytest.raises(UserError, match=r"^--chat-template: not a Jinja template"):
        ChatTemplate("{% for message in %}")
