"""Tests what is asked of the model: what fits, and what is cut."""

from typing import Any

import numpy as np
import pytest

from palmetto.decoding.request import GREEDY
from palmetto.evaluation.answers import words
from palmetto.evaluation.join import join
from palmetto.evaluation.queries import Manner, ask, of_prompt, requests
from palmetto.evaluation.registry import TASKS
from palmetto.evaluation.tasks.task import Example, Task, choice
from palmetto.evaluation.until import until
from palmetto.recipe.objectives import PrefixObjective, SpanObjective
from tests.evaluation.models import reader, vocabulary

EOD = vocabulary().eod
SHOTS = [choice(f"the text {n} is:", (" yes", " no"), 0) for n in range(3)]
EXAMPLE = choice("the text x is:", (" yes", " no"), 1)


def task(**others: Any) -> Task:
    return Task("t", "c", (), lambda record: EXAMPLE, **others)


def text(ids: tuple[int, ...]) -> str:
    return vocabulary().decode(ids)


def test_each_option_is_asked_with_and_without_context() -> None:
    queries = ask(task(unconditional="Answer:"), EXAMPLE, SHOTS[:1], reader())
    assert [(query.option, query.unconditional) for query in queries] == [(0, False), (1, False), (0, True), (1, True)]
    contexts = [text(query.ids) for query in queries]
    assert contexts == ["the text 0 is: yes\n\nthe text x is:"] * 2 + ["Answer:"] * 2
    assert [text(query.continuation_ids) for query in queries] == [" yes", " no"] * 2


def test_what_is_too_long_loses_whole_shots() -> None:
    for length in range(20, 100):
        queries = ask(task(instruction="Say it.\n"), EXAMPLE, SHOTS, reader(length))
        kept = text(queries[0].ids)
        count = kept.count("\n\n")
        assert text(queries[1].ids) == kept, "all options have the same shots"
        assert all(len(query.ids) + len(query.continuation_ids) <= length for query in queries)
        if kept.endswith("\nthe text x is:") or count:
            shown = "".join(shot.demonstration + "\n\n" for shot in SHOTS[:count])
            assert kept == f"Say it.\n{shown}the text x is:"
            assert queries[0].truncated == (count < 3)
    assert count == 3


def test_exemplars_that_do_not_fit_are_left_out_from_the_first() -> None:
    exemplars = tuple(f"Q: {n} and {n}?\nA: {n + n}\n\n" for n in range(4))
    own, example = task(mark=words, tokens=4, exemplars=exemplars, instruction="Say it.\n"), Example(context="Q: x\nA:")
    kept = set()
    for length in range(24, 120):
        [query] = ask(own, example, (), reader(length))
        count = text(query.ids).count("Q: ") - 1
        assert text(query.ids) == "Say it.\n" + "".join(exemplars[4 - count :]) + "Q: x\nA:"
        assert query.truncated == (count < 4)
        kept.add(count)
    assert kept == {0, 1, 2, 3, 4}


def test_an_answer_may_have_as_many_tokens_as_the_right_one() -> None:
    for context in ("Q: x\nA:", "Q: x\nA: "):
        query, _ = ask(task(mark=words, tokens=0), Example(context=context, answers=("the text",)), (), reader())
        assert query.tokens == len(join(vocabulary(), "Q: x\nA:", " the text").continuation)


def test_the_right_answer_is_asked_for_where_it_says_something() -> None:
    example = Example(context="Q: x\nA: ", answers=("the text", "a text"))
    asked = ask(task(mark=words), example, (), reader(), [3, 4])
    assert [(query.seed, query.tokens) for query in asked[:2]] == [(3, 32), (4, 32)]
    right = asked[2]
    assert (text(right.ids), text(right.continuation_ids), right.tokens) == ("Q: x\nA:", " the text", 0)
    assert len(ask(task(mark=words, chained=True), example, (), reader())) == 1
    assert len(ask(task(mark=words), Example(context="Q: x\nA:"), (), reader())) == 1
    long = Example(context="Q: x\nA:", answers=("text " * 50,))
    [query] = ask(task(mark=words, tokens=4), long, (), reader(16))
    assert not query.truncated, "the answer that does not fit is left out"
    worked = Example(context="Q: x\nA:", answers=("7",), solution="3 + 4 = 7 #### 7")
    assert text(ask(TASKS["gsm8k"], worked, (), reader())[1].continuation_ids) == " 7"


def test_beams_end_at_a_stop_of_several_tokens() -> None:
    request = requests(Manner(("\n\nthe",), GREEDY, beams=2), vocabulary())
    found = request(of_prompt("", "the text", 8, reader()))
    assert found.constraint is None
    assert found.ended is not None
    assert found.ended(vocabulary().encode("a\n\nthe text").tolist())
    assert not found.ended(vocabulary().encode("a\n\n").tolist())
    assert requests(Manner((), GREEDY, beams=2), vocabulary())(of_prompt("", "the text", 8, reader())).ended is None


@pytest.mark.parametrize("stops", [("\n",), ("e",), ("\n\n",), ("the", "\n\n\n"), ("é",), ("tex", ".")])
def test_an_answer_ends_however_its_text_is_spelled(stops: tuple[str, ...]) -> None:
    """Tokens may hold more than a stop string, and a stop string may lie in several tokens."""
    pieces = list(vocabulary().pieces())
    others = [piece.id for piece in pieces if piece.data]
    likely = [piece.id for piece in pieces if any(byte in "\n".join(stops).encode() for byte in piece.data)]
    drawn, ends, found = np.random.default_rng(0), until(stops, vocabulary()), set()
    for _ in range(300):
        ids = np.where(drawn.random(12) < 0.5, drawn.choice(likely, 12), drawn.choice(others, 12)).tolist()
        data = [b"".join(pieces[id].data for id in ids[:count]) for count in range(1, 13)]
        expected = next((at for at, text in enumerate(data) if any(stop.encode() in text for stop in stops)), None)
        constraint = ends.constraint() if ends.constraint else None
        ended = None
        for at, id in enumerate(ids):
            if constraint:
                constraint.accept(id)
            if id in ends.ids or (constraint and constraint.allowed() is None):
                ended = at
                break
        assert ended == expected
        assert ends.ended is not None
        assert next((at for at in range(12) if ends.ended(ids[: at + 1])), None) == expected
        found.add(expected)
    assert len(found) > 2


def test_a_question_too_long_loses_its_beginning() -> None:
    long = choice("text " * 50 + "is:", (" yes", " no"), 0)
    query = ask(task(instruction="Say it.\n"), long, SHOTS, reader(32))[0]
    assert query.truncated
    assert len(query.ids) + len(query.continuation_ids) <= 32
    assert query.ids[0] == EOD
    assert text(query.ids).startswith("Say it.\n")
    assert text(query.ids).endswith("text is:")


def test_a_long_instruction_leaves_half_to_the_question() -> None:
    query = ask(task(instruction="Say it. " * 50), EXAMPLE, (), reader(32))[0]
    assert len(query.ids) + len(query.continuation_ids) <= 32
    assert text(query.ids).startswith("Say it. Say")
    assert text(query.ids).endswith("the text x is:")


def test_a_long_continuation_loses_its_end_and_is_counted() -> None:
    query = ask(task(), choice("", ("text " * 50, "a"), 0), (), reader(16))[0]
    assert query.truncated
    assert len(query.continuation_ids) == 15
    assert query.ids == (EOD,)


def test_a_line_end_stays_in_the_prompt() -> None:
    """An answer that had to begin with it would end there."""
    for context in ("text:\n", "text:\n  "):
        query, right = ask(task(mark=words), Example(context=context, answers=("a",)), (), reader())
        assert right.ids == query.ids
        assert text(query.ids) == "text:\n"


def test_a_generated_answer_has_room() -> None:
    example = Example(context="text " * 50, answers=("a",))
    query, right = ask(task(mark=words, tokens=10), example, (), reader(32))
    assert (right.ids, text(right.continuation_ids)) == (query.ids, " a")
    assert query.truncated
    assert len(query.ids) + query.tokens == 32
    assert query.tokens == 10


@pytest.mark.parametrize(("objective", "added"), [(PrefixObjective(), 0), (SpanObjective(), 2)])
def test_other_objectives_see_the_prompt_in_their_form(objective: Any, added: int) -> None:
    plain, seen = (ask(task(), EXAMPLE, (), reader(64, of))[0] for of in (None, objective))
    assert len(seen.ids) == len(plain.ids) + added
    assert seen.ids[: len(plain.ids)] == plain.ids
    assert (plain.prefix, seen.prefix > 0) == (0, True)
