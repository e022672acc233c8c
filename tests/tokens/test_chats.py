"""Chats become ids, of which those of the assistant are known."""

import pytest

from palmetto.recipe.chat_template import Piece
from palmetto.tokens.chats import encode_chat
from palmetto.tokens.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(["the cat sat on the mat and the cat ate"] * 3, 280, "bpe")


def test_each_piece_is_encoded_by_itself(vocabulary: Vocabulary) -> None:
    pieces = [Piece("the c", False, False), Piece("at", True, True), Piece("", False, True), Piece("the", False, False)]
    ids, answers = encode_chat(pieces, vocabulary)
    first, second, last = (vocabulary.encode(text).tolist() for text in ("the c", "at", "the"))
    assert ids.tolist() == [*first, *second, vocabulary.eod, vocabulary.eod, *last]
    assert answers.tolist() == [False] * len(first) + [True] * (len(second) + 1) + [False] * (1 + len(last))
    assert first + second != vocabulary.encode("the cat").tolist()


def test_no_pieces_are_no_ids(vocabulary: Vocabulary) -> None:
    ids, answers = encode_chat([], vocabulary)
    assert len(ids) == len(answers) == 0
