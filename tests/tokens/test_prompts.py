"""Prompts are what an objective makes of ids, begun by [eod] where they begin a document."""

import pytest

from palmetto.recipe.objectives import CausalObjective, PrefixObjective, SpanObjective
from palmetto.tokens.prompts import Prompts
from palmetto.tokens.vocabulary import Vocabulary
from tests.conftest import RecipeMaker


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(["the cat sat on the mat and the cat ate"] * 3, 280, "bpe")


def test_a_text_begins_a_document(vocabulary: Vocabulary, tiny_recipe: RecipeMaker) -> None:
    prompts = Prompts.of(tiny_recipe(), vocabulary)
    ids, prefix = prompts.beginning("the cat")
    assert ids.tolist() == [vocabulary.eod, *vocabulary.encode("the cat").tolist()]
    assert prefix == 0
    assert prompts.of_ids([5, 6])[0].tolist() == [5, 6]


def test_the_objective_decides_what_is_seen(vocabulary: Vocabulary) -> None:
    causal, prefix, spans = (
        Prompts(vocabulary, objective, 280, 16) for objective in (CausalObjective(), PrefixObjective(), SpanObjective())
    )
    assert [made.of_ids([5, 6])[1] for made in (causal, prefix, spans)] == [0, 2, 3]
    assert causal.between([5], [6]) is None
    filled = spans.between([5], [6])
    assert filled is not None
    assert (filled[0].tolist(), filled[1]) == ([5, 280, 6, 280], 3)
