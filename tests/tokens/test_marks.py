"""Marks lie beside the tokens that they are of, and a marked store gives both."""

from pathlib import Path

import numpy as np

from palmetto.tokens import store
from palmetto.tokens.identity import store_digest
from palmetto.tokens.marks import Marked, mark, starts_of, tokens_of, unmark
from palmetto.tokens.packing import unigram_entropy
from palmetto.tokens.store import TokenStore

TOKENS = np.array([0, 1, 70_000, 255_999], np.int32)
MARKED = Marked(TOKENS, np.array([False, True, False, True]), np.array([True, False, False, True]))


def write(path: Path, scored: np.ndarray) -> Path:
    tokens = np.arange(9, dtype=np.int32) % 3
    numbers = mark(Marked(tokens, scored, np.arange(9) % 4 == 0))
    store.write(
        path,
        [numbers],
        vocabulary_size=20_000,
        sequence_length=4,
        documents=2,
        vocabulary_digest="",
        source_fingerprint="",
        marked=True,
    )
    return path


def test_tokens_and_marks_are_restored() -> None:
    for given, found in zip(MARKED, unmark(mark(MARKED)), strict=True):
        assert np.array_equal(given, found)
    assert np.array_equal(tokens_of(mark(MARKED)), TOKENS)


def test_a_marked_store_gives_tokens_and_what_is_stored(tmp_path: Path) -> None:
    path = write(tmp_path / "store", np.arange(9) % 2 == 1)
    opened = TokenStore.open(path)
    assert opened.header.dtype == "<u4", "20,000 tokens with two marks need more than 16 bits"
    assert opened.read(np.array([1, 0])).tolist() == [[1, 2, 0, 1, 2], [0, 1, 2, 0, 1]]
    assert unmark(opened.read_stored(np.array([0]))).scored.tolist() == [[False, True, False, True, False]]
    assert opened.stretch(3, 6).tolist() == [0, 1, 2]


def test_marks_belong_to_the_identity_of_a_store(tmp_path: Path) -> None:
    here, there = (write(tmp_path / name, np.arange(9) == place) for name, place in (("here", 3), ("there", 4)))
    assert store_digest(here) != store_digest(there)
    assert TokenStore.open(here).checksum != TokenStore.open(there).checksum


def test_the_entropy_is_that_of_predicted_tokens(tmp_path: Path) -> None:
    scored = np.isin(np.arange(9), [1, 2, 4, 5])  # the tokens 1, 2, 1, 2
    assert unigram_entropy(TokenStore.open(write(tmp_path / "store", scored))) == np.log(2)


def test_places_know_where_their_example_begins() -> None:
    begins = np.array([[False, False, True, False, True], [True, False, False, False, False]])
    assert starts_of(begins).tolist() == [[0, 0, 2, 2, 4], [0, 0, 0, 0, 0]]
