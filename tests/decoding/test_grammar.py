"""Grammars allow exactly the tokens with which the text can still match."""

import json
import re
import unittest.mock
from collections.abc import Callable

import numpy as np
import pytest

from palmetto.decoding.grammar import Grammars, Matching
from palmetto.decoding.request import Constraint, Finish
from palmetto.decoding.text import Pieces
from palmetto.errors import UserError
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.tokens.wrapped import WrappedVocabulary, wrap
from tests.references import foreign
from tests.references.panic import Panic


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(['{"name": "Ada", "age": 36, "ok": true} abc abcd ' * 20], 300, "bpe")


@pytest.fixture(scope="module")
def grammars(vocabulary: Vocabulary) -> Grammars:
    return Grammars(vocabulary, Pieces(vocabulary))


def drawn(make: Callable[[], Constraint], pieces: Pieces, seed: int) -> str:
    """Returns a text of tokens that are drawn evenly from those that are allowed."""
    random, constraint, data = np.random.default_rng(seed), make(), b""
    for _ in range(400):
        allowed = constraint.allowed()
        if allowed is None:
            return data.decode()
        token = int(random.choice(np.flatnonzero(allowed)))
        if not pieces.data[token]:
            return data.decode()
        constraint.accept(token)
        data += pieces.data[token]
    pytest.skip("the text does not end by itself")


@pytest.mark.parametrize("seed", range(5))
def test_any_allowed_text_matches_a_regular_expression(grammars: Grammars, vocabulary: Vocabulary, seed: int) -> None:
    pattern = r"(ab|ba){1,3}-[0-9]{2,4}"
    assert re.fullmatch(pattern, drawn(grammars.regex(pattern), Pieces(vocabulary), seed))


@pytest.mark.parametrize("seed", range(5))
def test_any_allowed_text_matches_a_schema(grammars: Grammars, vocabulary: Vocabulary, seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}},
        "required": ["ok", "kind"],
        "additionalProperties": False,
    }
    value = json.loads(drawn(grammars.json_schema(schema), Pieces(vocabulary), seed))
    assert type(value["ok"]) is bool
    assert value["kind"] in ("a", "b")


def test_only_fitting_tokens_are_allowed(grammars: Grammars, vocabulary: Vocabulary) -> None:
    constraint, pieces = grammars.regex("a[bc]{1,2}")(), Pieces(vocabulary)
    allowed = constraint.allowed()
    assert allowed is not None
    assert allowed.shape == (vocabulary.size,)
    assert {pieces.data[id] for id in np.flatnonzero(allowed)} == {b"a", b"ab", b"abc"} & set(pieces.data)
    for one in (b"a", b"b", b"c"):
        constraint.accept(pieces.data.index(one))
    assert constraint.allowed() is None
    assert constraint.finish == Finish.STOP


def test_every_end_of_answers_is_allowed_where_eod_is() -> None:
    pytest.importorskip("tokenizers", reason="needs the extra interop")
    contents = foreign.turning(foreign.byte_level())
    ending = WrappedVocabulary(wrap(contents, beginning=0, end=1, size=360, further_ends=[350, 351]))
    pieces = Pieces(ending)
    constraint = Grammars(ending, pieces).regex("ab?")()
    for letter, complete in (("a", False), ("b", True)):
        allowed = constraint.allowed()
        assert allowed is not None
        assert allowed[list(ending.ends)].tolist() == [complete] * 3
        constraint.accept(pieces.data.index(letter.encode()))
    assert constraint.allowed() is None, "nothing but an end is left"
    assert constraint.finish == Finish.STOP


def test_each_choice_has_a_constraint_of_its_own(grammars: Grammars, vocabulary: Vocabulary) -> None:
    make, a = grammars.regex("ab?"), Pieces(vocabulary).data.index(b"a")
    first, second = make(), make()
    first.accept(a)
    allowed = second.allowed()
    assert allowed is not None
    assert allowed[a]


def test_choices_have_their_first_mask_in_common(grammars: Grammars, vocabulary: Vocabulary) -> None:
    constraint, data = grammars.regex("a[bc]")(), Pieces(vocabulary).data
    assert isinstance(constraint, Matching)
    constraint._matcher = matcher = unittest.mock.Mock(wraps=constraint._matcher)
    for piece, computed in ((b"a", 0), (b"b", 1)):
        allowed = constraint.allowed()
        assert allowed is not None
        assert allowed[data.index(piece)]
        assert matcher.compute_bitmask.call_count == computed
        constraint.accept(data.index(piece))


@pytest.mark.parametrize("schema", [False, {"$ref": "#"}, {"enum": []}])
def test_a_schema_that_nothing_matches_is_refused(grammars: Grammars, schema: bool | dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"no text can match it|Unsatisfiable"):
        grammars.json_schema(schema)


def test_an_expression_that_nothing_matches_is_refused(grammars: Grammars) -> None:
    with pytest.raises(UserError, match="no text can match it"):
        grammars.regex("[a&&b]")


def test_a_schema_of_true_allows_any_value(grammars: Grammars, vocabulary: Vocabulary) -> None:
    allowed = grammars.json_schema(True)().allowed()
    assert allowed is not None
    assert all(allowed[Pieces(vocabulary).data.index(byte)] for byte in (b"{", b"[", b"1", b"t"))


def test_a_grammar_too_large_to_follow_is_not_complete(grammars: Grammars, vocabulary: Vocabulary) -> None:
    constraint = grammars.json_schema({"type": "array", "minItems": 10**9, "items": {"type": "null"}})()
    for _ in range(10):
        if (allowed := constraint.allowed()) is None:
            break
        constraint.accept(int(np.argmax(allowed)))
    assert allowed is None
    assert constraint.finish == Finish.LENGTH


@pytest.mark.parametrize("pattern", ["[a-", "(?<=a)b"])
def test_impossible_expressions_are_refused_with_a_reason(grammars: Grammars, pattern: str) -> None:
    with pytest.raises(UserError, match=r"regex|look"):
        grammars.regex(pattern)


def test_an_expression_on_which_llguidance_fails_is_refused(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammars._guidance, "LLMatcher", unittest.mock.Mock(side_effect=Panic("broken")))
    with pytest.raises(UserError, match=r"^llguidance fails on it \(broken\)$"):
        grammars._constraint(str, "a")
