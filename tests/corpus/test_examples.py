"""Lines of examples are read as segments, and a line that is none is named with its file and number."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from palmetto.corpus.examples import Message, Segments, read
from palmetto.errors import UserError
from palmetto.recipe.segments import Segment

GIVEN, PREDICTED = (lambda text: Segment(text, False)), (lambda text: Segment(text, True))


def shout(messages: Sequence[Message]) -> Segments:
    if messages[0].role == "assistant":
        raise UserError("a chat begins with a user")
    return tuple(Segment(f"{each.role}: {each.content}\n", each.role == "assistant") for each in messages)


def write(folder: Path, *lines: str) -> Path:
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder / "data.jsonl"


def test_each_form_becomes_segments(tmp_path: Path) -> None:
    chat = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}'
    path = write(
        tmp_path,
        '{"prompt": "2+2=", "target": " 4"}',
        "",
        chat,
        '{"text": "a whole text"}',
        '{"prompt": "2+2=", "chosen": " 4", "rejected": " 5"}',
    )
    assert [(example.name, example.sequences) for example in read(path, shout)] == [
        (f"{path}:1", ((GIVEN("2+2="), PREDICTED(" 4")),)),
        (f"{path}:3", ((GIVEN("user: Hi\n"), PREDICTED("assistant: Ho\n")),)),
        (f"{path}:4", ((PREDICTED("a whole text"),),)),
        (f"{path}:5", ((GIVEN("2+2="), PREDICTED(" 4")), (GIVEN("2+2="), PREDICTED(" 5")))),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ('{"prompt": "a", "target": "b", "prompt": "c"}', "line 2: not JSON .prompt is given twice"),
        ('{"messages": [{"role": "user", "role": "system", "content": "a"}]}', ".*role is given twice"),
        ("[1]", r"line 2: \[1\]; expected an object"),
        ('{"promt": "a", "target": "b"}', "line 2: has the keys promt, target .did you mean 'prompt'"),
        ('{"prompt": "a", "target": "b", "id": 3}', "line 2: has the keys prompt, target, id"),
        ('{"prompt": "a", "target": 4}', "line 2: target: 4; expected text"),
        ('{"prompt": "a"}', "line 2: has the keys prompt; expected"),
        ('{"messages": []}', r"line 2: messages: \[\]; expected a list"),
        ('{"messages": [{"role": "user"}]}', "line 2: message 1: .*expected .*role"),
        ('{"messages": [{"role": "user", "content": 1}]}', "line 2: message 1: .*expected texts"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "line 2: messages: a chat begins with a user"),
        (
            '{"messages": [{"role": "Assistant", "content": "a"}]}',
            "line 2: message 1: role .* .did you mean 'assistant'",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path, '{"text": "a"}', line)
    with pytest.raises(UserError, match=f"{path}: {words}"):
        list(read(path, shout))


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jsonl: cannot be read"):
        list(read(tmp_path / "gone.jsonl", shout))
    with pytest.raises(UserError, match="has no examples"):
        list(read(write(tmp_path, "", ""), shout))


def test_a_byte_order_mark_and_other_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n')
    assert [each.sequences for each in read(tmp_path / "data.jsonl", shout)] == [((PREDICTED(t),),) for t in "ab"]
