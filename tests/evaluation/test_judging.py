"""Tests decisions against log-probabilities whose sums are known."""

import math
from typing import Any

import pytest

from palmetto.evaluation.answers import words
from palmetto.evaluation.judging import elected, judge, normalized, together
from palmetto.evaluation.queries import Query, ask
from palmetto.evaluation.registry import TASKS
from palmetto.evaluation.tasks.arithmetic import number
from palmetto.evaluation.tasks.task import Example, Normalization, Task, choice
from tests.evaluation.models import reader

OPTIONS = choice("the text is:", (" é", " yes, indeed"), 0)


def task(**others: Any) -> Task:
    return Task("t", "c", (), lambda record: OPTIONS, **others)


def asked(example: Example, **others: Any) -> list[Query]:
    return ask(task(**others), example, (), reader())


def test_normalizations_divide_by_their_lengths() -> None:
    queries = asked(OPTIONS)
    scores = normalized(queries, [[-1.0, -2.0], [-8.0], [-0.5], [-9.0]])
    first, second = (len(query.continuation_ids) for query in queries[:2])
    assert scores["raw"] == [-3.0, -8.0]
    assert scores["token"] == [-3.0 / first, -8.0 / second]
    assert scores["character"] == [-3.0 / 1, -8.0 / 11]
    assert scores["byte"] == [-3.0 / 2, -8.0 / 11]
    assert scores["unconditional"] == [-2.5, 1.0]


@pytest.mark.parametrize(("normalization", "right"), [("raw", 1.0), ("character", 0.0), ("unconditional", 0.0)])
def test_a_task_has_its_own_normalization(normalization: Normalization, right: float) -> None:
    own = task(normalization=normalization)
    outcome = judge(own, "0", OPTIONS, asked(OPTIONS), [[-3.0], [-8.0], [-0.5], [-9.0]], ["", "", "", ""])
    assert outcome.scores["acc"] == outcome.scores[normalization] == right
    assert outcome.scores["raw"] == 1.0


def test_the_right_option_has_its_information_in_bits() -> None:
    outcome = judge(
        task(), "0", OPTIONS, asked(OPTIONS), [[-math.log(2), -math.log(4)], [-8.0], [0.0], [0.0]], [""] * 4
    )
    assert outcome.bits == pytest.approx(3.0)
    assert outcome.size == len("é".encode())


def test_a_tie_is_not_right_and_is_counted() -> None:
    outcome = judge(task(normalization="raw"), "0", OPTIONS, asked(OPTIONS), [[-3.0]] * 4, [""] * 4)
    assert outcome.tie
    assert outcome.scores["acc"] == 0.0
    assert outcome.chosen == -1


def test_an_answer_ends_at_its_stop() -> None:
    example = Example(context="Q: x\nA:", answers=("Paris",))
    own = task(mark=words, metric="em")
    outcome = judge(
        own, "0", example, asked(example, mark=words), [[-1.0], [-math.log(8)]], [" the Paris.\nQ: Paris", ""]
    )
    assert outcome.bits == pytest.approx(3.0)
    assert outcome.size == len("Paris")
    assert outcome.answer == " the Paris."
    assert outcome.scores == {"em": 1.0, "f1": 1.0}
    empty = judge(own, "0", example, asked(example, mark=words), [[], [-1.0]], ["\nParis", ""])
    assert empty.unparsed
    assert empty.scores == {"em": 0.0}


def test_the_answers_of_a_question_are_right_only_together() -> None:
    outcome = judge(task(normalization="raw"), "0", OPTIONS, asked(OPTIONS), [[-1.0], [-2.0], [-1.0], [-2.0]], [""] * 4)
    right, wrong = (
        outcome._replace(question="q"),
        outcome._replace(question="q", scores=dict.fromkeys(outcome.scores, 0.0)),
    )
    alone = outcome._replace(example="2")
    assert [each.scores["acc"] for each in together([right, wrong, alone])] == [0.0, 1.0]
    assert [each.scores["acc"] for each in together([right, right])] == [1.0]


def test_samples_vote_and_the_unparsed_do_not() -> None:
    chain = TASKS["gsm8k_cot"]
    texts = ["no idea", "no idea", "It is 4. The answer is 4.", "The answer is 5.", "So the answer is $4.00."]
    assert elected(chain, texts) == texts[2]
    assert elected(chain, ["no idea"] * 2) == "no idea"
    assert elected(task(mark=words), ["Rome", " The Paris.", "paris"]) == " The Paris."


@pytest.mark.parametrize(
    ("name", "texts", "winner"),
    [
        ("gsm8k", ["a #### 4", "b #### 5", "c #### 5.0"], 1),
        ("svamp", ["no idea", "no idea", " 7 apples"], 2),
        ("mawps_addsub", [" 3", " 1,000", "It is 1000."], 1),
    ],
)
def test_numbers_vote_whatever_is_said_around_them(name: str, texts: list[str], winner: int) -> None:
    assert elected(TASKS[name], texts) == texts[winner]


def test_any_accepted_number_is_right() -> None:
    assert number("It is 13.", Example(answers=("12", "13"))) == {"em": 1.0}
    assert number("It is 14.", Example(answers=("12", "13"))) == {"em": 0.0}
