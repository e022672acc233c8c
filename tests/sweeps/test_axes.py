"""Axes of a sweep are read from the command line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.sweeps.axes import parse_axis, split

words = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="[]{}\"',"), min_size=1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def single_quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@given(st.lists(words | json_values.map(json.dumps) | st.text().map(single_quoted), min_size=1, max_size=5))
def test_commas_inside_brackets_and_quotes_do_not_split(values: list[str]) -> None:
    assert split(",".join(values)) == values


@given(st.text(alphabet="ab ,:[]{}'\"\\"))
def test_the_joined_pieces_are_the_text(text: str) -> None:
    try:
        pieces = split(text)
    except UserError:
        return
    assert ",".join(pieces) == text
    assert len(pieces) <= 1 + text.count(",")


def test_an_apostrophe_inside_a_word_quotes_nothing() -> None:
    assert split("don't,{a: can't, b: 'x, y'},won't") == ["don't", "{a: can't, b: 'x, y'}", "won't"]


@pytest.mark.parametrize("text", ["[1, 2", "1]", "{a: [1, 2}", "'open", '{a: "open}'])
def test_an_unclosed_bracket_or_quotation_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        split(text)


def test_an_axis_is_a_key_and_its_values() -> None:
    axis = parse_axis("model.positions={name: t5, buckets: 32}, {name: alibi}")
    assert axis.name == "model.positions"
    assert axis.choices == {
        "{name: t5, buckets: 32}": ("model.positions={name: t5, buckets: 32}",),
        "{name: alibi}": ("model.positions={name: alibi}",),
    }


def test_a_bundle_has_a_label_and_several_values() -> None:
    axis = parse_axis("style=ours:{},theirs: {model.heads: 2, training.batch_size: {0: 2, 50: 4}}")
    assert axis.choices == {
        "ours": (),
        "theirs": ("model.heads=2", "training.batch_size={0: 2, 50: 4}"),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model.block", ["'model.block'", "KEY=VALUE"]),
        ("=1,2", ["KEY=VALUE"]),
        ("model.heads=1,,2", ["model.heads=1,,2", "empty"]),
        ("model.heads=", ["model.heads=", "empty"]),
        ("model.heads=1,2,1", ["model.heads=1,2,1", "1 is given twice"]),
        ("style=a:{model.heads: 1},a:{model.heads: 2}", ["a is given twice"]),
        ("style=a:{model.heads: 1},2", ["all or none"]),
        ("style=a:{model.heads}", ["'model.heads'", "KEY: VALUE"]),
        ("training.seed=0,1,2", ["--seeds 3"]),
        ("style=a:{training.seed: 4},b:{}", ["--seeds"]),
    ],
)
def test_an_axis_of_another_form_is_refused(text: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        parse_axis(text)
    assert all(word in str(error.value) for word in words), str(error.value)
