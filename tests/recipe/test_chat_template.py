"""Templates turn chats into text, tell the assistant's from the rest, and reach nothing else."""

from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.recipe import loading
from palmetto.recipe.chat_template import ChatTemplate, Message
from palmetto.recipe.segments import Segment
from tests.conftest import RecipeMaker
from tests.recipe.conftest import refusal

CHAT: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{ 7 * 7 }}"}]
ANSWERED: list[Message] = [
    *CHAT,
    {"role": "assistant", "content": "49"},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Yes."},
]
TURNS = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""A template in the form that Hugging Face uses."""


def text(segments: list[Segment]) -> str:
    return "".join(segment.text + "[eod]" * segment.ends for segment in segments)


def test_the_default_is_a_transcript() -> None:
    template = ChatTemplate(None, "")
    assert text(template.prompt(CHAT)) == "System: Be brief.\n\nUser: {{ 7 * 7 }}\n\nAssistant:"
    assert template.stops == ["\n\nUser:"]


def test_a_template_of_hugging_face_works() -> None:
    template = ChatTemplate(TURNS, "")
    assert text(template.prompt(CHAT)) == "<|system|>\nBe brief.\n<|user|>\n{{ 7 * 7 }}\n<|assistant|>\n"
    assert template.stops == []


def test_segments_are_prompts_and_what_answers_them() -> None:
    template = ChatTemplate(TURNS, "")
    first, second = ANSWERED[:2], ANSWERED[:4]
    segments = template.segments(ANSWERED)
    assert segments == [
        Segment("<|system|>\nBe brief.\n<|user|>\n{{ 7 * 7 }}\n<|assistant|>\n", predicted=False, ends=False),
        Segment("49", predicted=True, ends=True),
        Segment("\n", predicted=True, ends=False),
        Segment("<|user|>\nSure?\n<|assistant|>\n", predicted=False, ends=False),
        Segment("Yes.", predicted=True, ends=True),
        Segment("\n", predicted=True, ends=False),
    ]
    assert text(segments[:1]) == text(template.prompt(first))
    assert segments[:4] == template.prompt(second), "cut alike, so that a chat has the ids of training"


def test_segments_of_a_transcript_are_its_whole_text() -> None:
    segments = ChatTemplate(None, "").segments([*ANSWERED, CHAT[1]])
    assert [segment.text for segment in segments if segment.predicted] == [" 49\n\n", " Yes.\n\n"]
    assert text(segments).endswith("Assistant: Yes.\n\nUser: {{ 7 * 7 }}\n\n")


def test_a_message_cannot_end_a_document() -> None:
    template = ChatTemplate("{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}", "")
    [segment] = template.prompt([{"role": "user", "content": "{{ eos_token }}[eod]</s>"}])
    assert segment == Segment("{{ eos_token }}[eod]</s>", predicted=False, ends=True)


def test_a_template_that_changes_earlier_text_has_no_segments() -> None:
    template = ChatTemplate("{{ messages | length }}{% for message in messages %}{{ message.content }}{% endfor %}", "")
    assert text(template.prompt(ANSWERED)).startswith("5Be brief.")
    with pytest.raises(UserError, match=r"^message 3: the chat template changes the text before it"):
        template.segments(ANSWERED)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages | map(attribute='__class__') | list }}{{ messages[0].__init__.__globals__ }}",
        "{{ raise_exception('no system messages') }}{{ messages }}",
        "{{ 1 / 0 }}{{ messages }}",
        "{% include '/etc/passwd' %}{{ messages }}",
    ],
)
def test_a_template_that_does_not_fit_refuses_the_messages(source: str) -> None:
    with pytest.raises(UserError, match=r"^the chat template does not take them \("):
        ChatTemplate(source, "").prompt(CHAT)


def test_a_recipe_holds_a_template_or_names_a_file_of_one(tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(TURNS)
    named = tiny_recipe(f"tokens.chat_template={file}")
    assert named.tokens.chat_template == TURNS
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(loading.dump(named))
    file.unlink()
    assert loading.load(str(resolved)) == named
    assert tiny_recipe().tokens.chat_template is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("'{% for message in %}'", "tokens.chat_template: line 1: not a Jinja template (Expected an expression"),
        ("'{{ message.content }}'", "tokens.chat_template: does not write the variable messages"),
        ("nowhere.jinja", "tokens.chat_template=nowhere.jinja: expected a Jinja template or a file of one (No such"),
        ("7", "tokens.chat_template=7: "),
    ],
)
def test_a_mistake_in_a_template_is_found_in_the_recipe(tiny: str, value: str, message: str) -> None:
    assert refusal(tiny, f"tokens.chat_template={value}").startswith(message)
