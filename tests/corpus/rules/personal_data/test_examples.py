"""Tests recall and precision on the examples, and that hints miss nothing."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from palmetto.corpus.rules.personal_data import KINDS, find
from tests.references.personal_examples import EXAMPLES, HELD_OUT, measured, parsed


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example(example: str) -> None:
    text, spans = parsed(example)
    assert {(text[start:end], kind) for start, end, kind in find(text)} == {
        (text[start:end], kind) for start, end, kind in spans
    }


def test_recall_and_precision_on_examples_written_afterwards() -> None:
    for kind, (there, right, wrong) in measured(find, HELD_OUT).items():
        assert right >= 0.85 * there, kind
        assert right >= 0.85 * (right + wrong), kind


def test_a_hint_never_hides_what_is_found() -> None:
    texts = [parsed(example)[0] for example in EXAMPLES + HELD_OUT]
    for kind in KINDS:
        hinted = pc.match_substring_regex(pa.array(texts), kind.hint).to_pylist()
        assert [text for text, hint in zip(texts, hinted, strict=True) if list(kind.spans(text)) and not hint] == []
