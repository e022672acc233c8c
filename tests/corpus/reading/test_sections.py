"""Tests that sections join to the document, are short, and are the same in copies."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.corpus.documents import cut_bytes
from palmetto.corpus.reading.sections import sections

TEXT = st.text(st.sampled_from(list("ab é\n\n\n ")), max_size=2000).map(str.encode)


def book(seed: int, paragraphs: int) -> str:
    words = random.Random(seed)
    return "".join(
        "\n".join(" ".join(f"w{words.randrange(5000)}" for _ in range(10)) for _ in range(words.randrange(1, 9)))
        + "\n\n"
        for _ in range(paragraphs)
    )


@given(TEXT, st.integers(1, 500))
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_and_a_run_cuts_no_further(data: bytes, section_bytes: int) -> None:
    cut = list(sections(data, section_bytes))
    assert b"".join(cut) == data
    assert all(cut)
    assert all(list(cut_bytes(section, section_bytes)) == [section] for section in cut)


def test_short_enough_and_at_paragraphs() -> None:
    data = book(0, 1000).encode()
    cut = list(sections(data, 8192))
    assert all(2048 <= len(section) <= 8192 for section in cut)
    assert all(section.endswith(b"\n\n") for section in cut)


def test_equal_lines_are_halved_not_cut_off_one_by_one() -> None:
    cut = list(sections(b"0\n" * 8192, 1024))
    assert all(512 <= len(section) <= 1024 for section in cut)


def test_copies_with_another_beginning_share_their_sections() -> None:
    text = book(1, 2000)
    one, other = ({*sections((head + text).encode(), 16384)} for head in ("", book(2, 11)))
    counted = [{*cut_bytes((head + text).encode(), 16384)} for head in ("", book(2, 11))]
    assert len(one & other) >= len(one) - 2
    assert not counted[0] & counted[1]


def test_copies_whose_lines_are_wrapped_otherwise_are_cut_alike() -> None:
    text = book(3, 1000)
    wrapped = "\r\n\r\n".join(part.replace("\n", " ") for part in text.split("\n\n"))
    one, other = (
        [b" ".join(section.split()) for section in sections(each.encode(), 16384)] for each in (text, wrapped)
    )
    assert len({*one} & {*other}) >= len(one) // 2
