"""Chats become ids, each segment by itself."""

import pytest

from palmetto.recipe.segments import Segment
from palmetto.tokens.chats import encode_chat
from palmetto.tokens.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(["the cat sat on the mat and the cat ate"] * 3, 280, "bpe")


def test_each_segment_is_encoded_by_itself(vocabulary: Vocabulary) -> None:
    segments = [Segment("the c", False), Segment("at", True, ends=True), Segment("", False, ends=True)]
    ids = encode_chat([*segments, Segment("the", False)], vocabulary)
    first, second, last = (vocabulary.encode(text).tolist() for text in ("the c", "at", "the"))
    assert ids.tolist() == [*first, *second, vocabulary.eod, vocabulary.eod, *last]
    assert first + second != vocabulary.encode("the cat").tolist()


def test_no_segments_are_no_ids(vocabulary: Vocabulary) -> None:
    assert encode_chat([], vocabulary).tolist() == []
