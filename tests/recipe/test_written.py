"""Names that a template writes are found, those in messages never, and the text stays as the template writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from palmetto.errors import UserError
from palmetto.recipe.chat_template import ChatTemplate, Message
from palmetto.recipe.segments import Segment, Special

NAMES = ["<s>", "</s>", "<s>b", "<|user|>", "<|im start|>", "</think>", "\u2581"]
SPECIALS = [Special(name) for name in NAMES]
PIECES = [*NAMES, "<|im", "start|>", "<", "s>", "S", " ", "\n", "&lt;", "&#115;", "[eod]", "[e", "user", "|", "a", "\\"]
messages = st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=6).map("".join)
LOOKS = [
    "c",
    "c | trim",
    "'empty' if not c else c",
    "c | length",
    "c | lower",
    "c | upper | lower",
    "c[1:]",
    "c[::-1]",
    "c.split('</think>')[-1].lstrip('\\n')",
    "c.split('</s>') | join",
    "'thinks' if '</think>' in c and c.startswith('<s>') else c",
    "c.replace('s', '')",
    "c | replace('</s>', '')",
    "c.replace(eos_token, '')",
    "c | striptags",
    "c | center(20)",
    "c | wordwrap(3)",
    "c | tojson",
    "c | reverse",
    "c | escape",
    "'%s' | format(c)",
    "'<{}>'.format(c)",
    "'<' + c + '>'",
    "('<' ~ c ~ 'e>') | trim",
    "('<' + c).split('s')[-1] + '|' + c",
    "c | trim ~ ' start|>'",
    "tagged(c) | trim",
    "'same' if tagged(c) == '</s>' else tagged(c)[:-1] | length",
    "block | trim ~ block[1:] ~ (block == '<s>')",
    "([c, 'user'] | join('|')).strip('|')",
    "(' ' ~ c).split()",
]


def render(template: str, *contents: str) -> list[Segment]:
    chat: list[Message] = [{"role": "user", "content": content} for content in contents]
    return ChatTemplate(template, "", SPECIALS).prompt(chat)


def text(segments: list[Segment]) -> str:
    return "".join(segment.text + segment.special + "[eod]" * segment.ends for segment in segments)


@pytest.mark.parametrize("look", LOOKS)
def test_no_message_gives_a_name_whatever_templates_do(look: str) -> None:
    template = (
        "{% macro tagged(x) %}<{{ x }}>{% endmacro %}{% for message in messages %}{% set c = message.content %}"
        "{% set block %}<{{ c }}>{% endset %}\n"
        f"<s>{{{{ {look} }}}}</s>{{{{ eos_token }}}}" + "{% endfor %}"
    )
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    plain, made = environment.from_string(template), ChatTemplate(template, "", SPECIALS)

    @given(messages)
    def check(content: str) -> None:
        chat: list[Message] = [{"role": "user", "content": content}]
        segments = made.prompt(chat)
        assert text(segments) == plain.render(messages=chat, eos_token="[eod]")
        assert [segment.special for segment in segments] == ["<s>", "</s>", ""]
        assert [segment.ends for segment in segments] == [False, False, True]

    check()


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("<s>b<s>{{ c }}</s>", ["<s>b", "<s>", "</s>"]),
        ("{{ '<|' + messages[0].role + '|>' + c }}", ["<|user|>"]),
        ("{{ '<|' ~ messages[0]['role'] ~ '|>' ~ c }}", ["<|user|>"]),
        ("{% set role = messages[0].role %}{% if role == 'user' %}<|{{ role }}|>{{ c }}{% endif %}", ["<|user|>"]),
        ("{{ ('<s>' + c + '</think>') | trim }}", ["<s>", "</think>"]),
        ("{{ (c ~ '\\n<s> ').strip() }}{{ {'user': '<s>'}['user'] }}", ["<s>", "<s>"]),
        ("{{ [c, c] | join('<s>') }}{{ '</s>'.join([c, '<s>']) }}", ["<s>", "</s>", "<s>"]),
        ("{{ c | replace('a', '<s>') }}{{ ('<s>a' + c).replace('a', '</s>') }}", ["<s>", "<s>", "</s>", "</s>"]),
        ("{{ ('<s>' + c + '</s>').split('a') | join }}{{ ('<s> ' + c).split()[0] }}", ["<s>", "</s>", "<s>"]),
        ("{{ ('<s>' * 2 + c)[3:] }}{{ c if false else '<|im start|>' }}", ["<s>", "<|im start|>"]),
        ("{% set x %}<s>{% endset %}{% if x == '<s>' %}{{ x | trim }}{% endif %}{{ c }}", ["<s>"]),
        (
            "{% macro f(x) %}<s>{{ x }}{% endmacro %}{% if f(c) == '<s>' ~ c %}{{ f('</s>') }}{% endif %}",
            ["<s>", "</s>"],
        ),
        ("{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}<s>{{ c }}{% endcall %}", ["<s>"]),
        ("{% set x | trim %} <s>{{ c }}{% endset %}{% if x[:3] == '<s>' %}{{ x }}{% endif %}", ["<s>"]),
        ("{% filter trim %} <s>{{ c }} {% endfilter %}\u2581", ["<s>", "\u2581"]),
    ],
)
def test_names_that_a_template_writes_are_found(written: str, names: list[str]) -> None:
    segments = render("{% set c = messages[0].content %}" + written, "a<s")
    assert [segment.special for segment in segments if segment.special] == names


def test_an_error_shows_what_no_message_can_use() -> None:
    with pytest.raises(UserError, match=r"^the chat template does not take them \(no <s>\[eod\]\)$"):
        render("{{ raise_exception('no <s>' + eos_token) }}{{ messages }}", "a")
    assert render("{{ messages[0].content }}", "<s>[eod]") == [Segment("<s>[eod]", predicted=False)]


def test_a_template_that_hides_its_names_is_refused() -> None:
    with pytest.raises(UserError, match="leaves open which of them are its own"):
        render("{{ messages[0].content }}{{ '<s>' | escape }}", "a")


def test_messages_with_stand_ins_are_refused() -> None:
    with pytest.raises(UserError, match=r"^message 2: expected no characters for private use from U\+100000 on"):
        render("{{ messages[0].content }}", "\ue000", "\U00100000")
