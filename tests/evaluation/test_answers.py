"""Tests exact match and F1."""

import pytest

from palmetto.evaluation.answers import exact, f1, words
from palmetto.evaluation.tasks.normalization import normalize
from palmetto.evaluation.tasks.task import Example


def test_case_punctuation_and_articles_do_not_count() -> None:
    assert normalize("  The U.S., an   Answer-book!") == "us answerbook"
    assert normalize("theory and a") == "theory and"


@pytest.mark.parametrize(
    ("answer", "accepted", "expected"),
    [
        ("the big red dog", "a red dog", 2 * 2 / (3 + 2)),
        ("dog dog", "dog", 2 * 1 / 3),
        ("cat", "dog", 0.0),
        ("the", "a", 1.0),
        ("the", "dog", 0.0),
    ],
)
def test_f1_is_of_common_words(answer: str, accepted: str, expected: float) -> None:
    assert f1(answer, accepted) == pytest.approx(expected)


def test_the_best_accepted_answer_counts() -> None:
    example = Example(context="", answers=("New York City", "NYC"))
    assert words(" the nyc.", example) == {"em": 1.0, "f1": 1.0}
    assert words("York", example) == {"em": 0.0, "f1": 0.5}
    assert exact("N.Y.C", "NYC") == 1.0
