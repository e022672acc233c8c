"""Tests the sums of outcomes by group and category against hand-made numbers."""

import pytest

from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.results import summarize
from palmetto.evaluation.tasks.task import Example, Outcome, Task
from palmetto.report.scores import certain


def loaded(name: str, category: str) -> Loaded:
    return Loaded(Task(name, category, (), lambda record: Example()), [], None, ("file",))


def outcomes(*scores: float, gold: int = 0) -> list[Outcome]:
    return [Outcome(str(n), str(n), {"acc": score}, "", gold=(gold,), options=4) for n, score in enumerate(scores)]


EVALUATED = {
    "one": (loaded("one", "x"), outcomes(1.0, 0.0)),
    "two": (loaded("two", "x"), outcomes(1.0, 1.0, 1.0, 0.0, 1.0, 1.0, gold=1)),
    "three": (loaded("three", "y"), outcomes(0.0, 0.0)),
}


def test_a_group_has_its_mean_over_examples_and_over_tasks() -> None:
    group = summarize(EVALUATED, {"all": ["one", "two"]})["tasks"]["all"]
    assert group["value"] == 75.0
    assert group["macro"]["value"] == pytest.approx((50 + 500 / 6) / 2, abs=1e-4)
    assert (group["count"], group["parts"], group["chance"]) == (8, ["one", "two"], 25.0)
    assert group["majority"] == 75.0, "one place for all of the group"


def test_a_group_counts_once_in_its_category() -> None:
    categories = summarize(EVALUATED, {"all": ["one", "two"]})["categories"]
    assert categories["x"]["tasks"] == ["all"]
    alone = summarize(EVALUATED, {})["categories"]
    assert alone["x"]["tasks"] == ["one", "two"]
    assert alone["x"]["value"] == pytest.approx((50 + 500 / 6) / 2, abs=1e-4)
    assert alone["y"]["value"] == 0.0


def test_always_taking_one_place_is_no_skill() -> None:
    values = {"interval": [30.0, 40.0], "chance": 25.0, "majority": 35.0}
    assert not certain(values)
    assert certain(values | {"majority": 25.0})
