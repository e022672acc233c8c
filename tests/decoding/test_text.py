"""Tokens become text piece by piece, the same text as all at once."""

import string
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.decoding.choices import Choice
from palmetto.decoding.request import Finish, Token
from palmetto.decoding.text import Pieces, TextStream
from palmetto.tokens.vocabulary import Piece, Vocabulary

TEXT = "the cat sat on the mat; the café — naïve 日本語 🙂 ends here. " * 20


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train([TEXT], 330, "bpe")


@pytest.fixture(scope="module")
def pieces(vocabulary: Vocabulary) -> Pieces:
    return Pieces(vocabulary)


def streamed(pieces: Pieces, ids: list[int], stops: list[str], errors: str = "replace") -> tuple[str, bool]:
    stream = TextStream(pieces, stops, errors)
    text = "".join(stream.add(id) for id in ids)
    return text + stream.finish(), stream.stopped


def test_a_stop_string_ends_its_choice_in_the_engine(pieces: Pieces) -> None:
    ended = list[str]()
    byte = {piece: id for id, piece in enumerate(pieces.data) if len(piece) == 1}
    for name, finish in (("going on", None), ("ending", Finish.LENGTH)):
        choice = Choice(pieces, ["b"], end=partial(ended.append, name))
        for text in (b"a", b"b"):
            assert choice.finish is None
            choice.add([Token(byte[text], 0.0)], finish if text == b"b" else None)
        assert choice.finish == "stop"
    assert ended == ["going on"], "the engine knows of what it has ended itself"


class Repeating:
    """Holds a vocabulary: three tokens stand for one text, another is named as they are, and one by their name."""

    def pieces(self) -> Iterator[Piece]:
        for id, (name, kind) in enumerate([("a", "control"), ("a", "text"), ("a", "text"), ("a[2]", "text")]):
            yield Piece(id, name, kind, b"" if kind == "control" else name.encode(), 0.0)  # type: ignore[arg-type]


def test_every_token_has_a_name_of_its_own() -> None:
    pieces = Pieces(Repeating())  # type: ignore[arg-type]
    assert pieces.names == ["a", "a[1]", "a[2]…", "a[2]"]
    assert pieces.data == [b"", b"a", b"a", b"a[2]"]


@given(data=st.data())
def test_streamed_text_is_the_whole_text(pieces: Pieces, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(pieces.data) - 1), max_size=40))
    whole = b"".join(pieces.data[id] for id in ids)
    assert streamed(pieces, ids, [])[0] == whole.decode("utf-8", "replace")
    escaped = streamed(pieces, ids, [], "surrogateescape")[0]
    assert escaped.encode("utf-8", "surrogateescape") == whole


@given(data=st.data())
def test_stop_strings_do_not_depend_on_token_borders(pieces: Pieces, data: st.DataObject) -> None:
    text = data.draw(st.text("ab🙂", max_size=30))
    stops = data.draw(st.lists(st.text("ab🙂", min_size=1, max_size=4), max_size=3))
    byte = {piece: id for id, piece in enumerate(pieces.data) if len(piece) == 1}
    ids = [byte[bytes([one])] for one in text.encode()]
    first = next(
        (
            min(start for stop in stops if (start := end - len(stop)) >= 0 and text[start:end] == stop)
            for end in range(1, len(text) + 1)
            if any(text[:end].endswith(stop) for stop in stops)
        ),
        None,
    )
    assert streamed(pieces, ids, stops) == (text[:first], first is not None)
    given_out, stream = "", TextStream(pieces, stops)
    for id in ids:
        given_out += stream.add(id)
        assert text[:first].startswith(given_out)


def test_only_what_may_change_is_held_back(pieces: Pieces) -> None:
    byte = {piece: id for id, piece in enumerate(pieces.data) if len(piece) == 1}
    stream = TextStream(pieces, ["abc"])
    assert [stream.add(byte[one]) for one in (b"x", b"a", b"b", b"a")] == ["x", "", "", "ab"]
    assert stream.add(byte[b"\xc3"]) == ""
    assert stream.characters == 4
    assert stream.add(byte[b"\xa9"]) == "aé"
    assert stream.add(byte[b"\xc3"]) + stream.finish() == "\ufffd"


def test_names_of_tokens_are_unique(pieces: Pieces, vocabulary: Vocabulary) -> None:
    assert len(set(pieces.names)) == vocabulary.size
    assert pieces.names[vocabulary.eod] == "[eod]"
    assert pieces.data[vocabulary.eod] == b""
    letters = set(pieces.names) & set(string.ascii_letters)
    assert all(pieces.data[pieces.names.index(letter)] == letter.encode() for letter in letters)


def test_a_choice_ends_with_its_stop_string(pieces: Pieces, vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("the cat sat").tolist()
    choice = Choice(pieces, ["t s"])
    deltas = [choice.add([Token(id, -1.0)], None) for id in ids]
    assert "".join(delta.text for delta in deltas) == "the ca"
    assert choice.finish == "stop"
    assert choice.generated == sum(len(delta.tokens) for delta in deltas)
    assert not choice.add([Token(ids[0], -1.0)], Finish.LENGTH).tokens


def test_offsets_count_characters_before_each_token(pieces: Pieces, vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("a 日本 cat").tolist()
    choice = Choice(pieces, [])
    delta = choice.echo(ids[:2], [Token(id, None) for id in ids[:2]])
    delta.add(choice.add([Token(id, -1.0) for id in ids[2:]], Finish.LENGTH))
    assert delta.text == "a 日本 cat"
    text = delta.text.encode()
    for place, (_, offset) in enumerate(delta.tokens):
        before = b"".join(pieces.data[id] for id in ids[:place])
        assert text.startswith(before)
        assert offset == len(before.decode(errors="ignore"))


def test_long_stop_strings_are_followed_quickly(pieces: Pieces) -> None:
    stops = ["a" * 999 + "b", *("a" * 998 + chr(i) for i in range(300, 331)), *(chr(i) * 1000 for i in range(400, 432))]
    stream, a, begun = TextStream(pieces, stops), pieces.data.index(b"a"), time.process_time()
    assert [stream.add(a) for _ in range(900)] == [""] * 900
    assert time.process_time() - begun < 0.8, "in constant time a character"
    assert stream.finish() == "a" * 900
