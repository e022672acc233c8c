"""Tests that the split equals that of sorted lists, in bounded memory."""

import hashlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.tokens.split import Split

Documents = list[tuple[bytes, int]]


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def held_out(documents: Documents, share: float, needed: int) -> set[bytes] | None:
    """Applies the rule to a sorted list of all documents; returns None if a half would have too little."""
    by_digest = itertools.groupby(sorted(documents), key=lambda document: document[0])
    groups = [(name, sum(tokens for _, tokens in copies)) for name, copies in by_digest]
    below = [name for name, _ in groups if int.from_bytes(name[:8]) < share * 2**64]
    count = 1 if len(below) == len(groups) else len(below)
    while sum(tokens for _, tokens in groups[:count]) < needed and count < len(groups) - 1:
        count += 1
    halves = groups[:count], groups[count:]
    if any(sum(tokens for _, tokens in half) < needed for half in halves):
        return None
    return {name for name, _ in halves[0]}


@settings(max_examples=300)
@given(
    documents=st.lists(st.tuples(st.integers(0, 12).map(digest), st.integers(1, 9)), max_size=30),
    share=st.sampled_from([1e-9, 0.01, 0.1, 0.5, 0.9, 1 - 1e-17]),
    needed=st.integers(2, 20),
)
def test_split_is_that_of_sorted_lists(documents: Documents, share: float, needed: int) -> None:
    split = Split(share, needed)
    for document in documents:
        split.add(*document)
    assert split.has_two == (len({name for name, _ in documents}) > 1)
    if not split.has_two:
        return
    if (expected := held_out(documents, share, needed)) is None:
        with pytest.raises(UserError, match="one window needs"):
            split.boundary()
        return
    boundary = split.boundary()
    assert {name for name, _ in documents if name < boundary} == expected


def test_memory_does_not_grow_with_the_documents() -> None:
    split = Split(1 / 128, 50)
    for number in range(5000):
        split.add(digest(number), 1 + number % 3)
        assert len(split._smallest) <= 50
    assert split.boundary() == (2**57).to_bytes(8).ljust(32, b"\0")
