"""Tests the join of a prompt with its continuation."""

from hypothesis import given
from hypothesis import strategies as st

from palmetto.evaluation.join import join
from tests.evaluation.models import vocabulary

TEXTS = st.text("ab defintr\n.", max_size=12)


@given(TEXTS, TEXTS.filter(bool))
def test_the_ids_are_those_of_the_whole_text(context: str, continuation: str) -> None:
    joined = join(vocabulary(), context, continuation)
    whole = vocabulary().encode(context + continuation).tolist()
    assert [*joined.context, *joined.continuation] == [vocabulary().eod, *whole]
    assert joined.continuation


@given(TEXTS, TEXTS.filter(bool))
def test_without_a_spanning_token_the_cut_is_the_prompts_end(context: str, continuation: str) -> None:
    joined, bare = join(vocabulary(), context, continuation), context.rstrip()
    if not joined.spans and len(vocabulary().encode(bare)) < len(joined.context) - 1 + len(joined.continuation):
        assert vocabulary().decode(joined.context) == bare
        assert vocabulary().decode(joined.continuation) == context[len(bare) :] + continuation


def test_spaces_move_to_the_continuation() -> None:
    assert join(vocabulary(), "the text ", "def") == join(vocabulary(), "the text", " def")


def test_a_spanning_token_is_noticed_and_leaves_a_continuation() -> None:
    [one] = vocabulary().encode("self").tolist()
    joined = join(vocabulary(), "sel", "f")
    assert joined.spans
    assert joined.continuation == (one,)
    assert joined.context == (vocabulary().eod,)


def test_an_empty_prompt_is_the_end_of_document() -> None:
    joined = join(vocabulary(), "", "self")
    assert joined.context == (vocabulary().eod,)
    assert not joined.spans
