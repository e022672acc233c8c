"""Names in messages are broken, wherever they stand, and come back as they were."""

import re

from hypothesis import given
from hypothesis import strategies as st

from palmetto.recipe.guard import Guard, one_of

NAMES = ["<a>", "<ab>", "a>b", "<a><", "[b]", "<a>b"]
texts = st.text("<>[]ab ", max_size=12)


@given(texts)
def test_the_longest_name_counts(text: str) -> None:
    found = re.match(one_of(NAMES), text)
    longest = max((name for name in NAMES if text.startswith(name)), key=len, default=None)
    assert (found and found[0]) == longest


@given(texts, texts, texts)
def test_no_name_stands_in_a_message_or_at_its_ends(before: str, message: str, behind: str) -> None:
    guard = Guard(NAMES)
    put = guard.put(message)
    assert guard.remove(put) == message
    for name in NAMES:
        assert (before + put + behind).count(name) == before.count(name) + behind.count(name) or not message


def test_without_names_messages_stay() -> None:
    assert Guard([]).put("<a>") == "<a>"
