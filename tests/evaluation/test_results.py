"""Tests the sums of outcomes by group and category against hand-made numbers."""

import math

import pytest

from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.results import set_of, summarize
from palmetto.evaluation.scoring import estimate_of, macro_of
from palmetto.evaluation.tasks.task import BITS, Example, Outcome, Task
from palmetto.report.scores import certain


def loaded(name: str, category: str) -> Loaded:
    return Loaded(Task(name, category, (), lambda record: Example()), [], None, ("file",))


def outcomes(*scores: float, gold: int = 0) -> list[Outcome]:
    return [Outcome(str(n), str(n), {"acc": score}, "", gold=(gold,), options=4) for n, score in enumerate(scores)]


SIZES = ((10.0, 5), (6.0, 9), (30.0, 11))
"""The bits and bytes of texts."""
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


@pytest.mark.parametrize(("group", "share"), [("xcopa", 1.0), ("blimp", math.sqrt(0.5))])
def test_translations_are_no_more_examples(group: str, share: float) -> None:
    one = loaded("one", "x"), outcomes(1.0, 0.0, 0.0)
    tasks = summarize({"one": one, "two": (loaded("two", "x"), one[1])}, {group: ["one", "two"]})["tasks"]
    alone = tasks["one"]
    assert tasks[group]["macro"]["value"] == pytest.approx(alone["value"])
    assert tasks[group]["macro"]["error"] == pytest.approx(share * alone["error"], abs=1e-4)
    if group == "xcopa":
        assert (tasks[group]["error"], tasks[group]["count"]) == (pytest.approx(alone["error"], abs=1e-4), 6)


def test_a_mean_of_translated_texts_reaches_as_far_as_one() -> None:
    texts = [Outcome(str(n), str(n), {BITS: 1.0}, "", bits=bits, size=size) for n, (bits, size) in enumerate(SIZES)]
    alone = estimate_of(BITS, texts, [text.cluster for text in texts])
    assert macro_of(BITS, [texts, texts])[:2] == pytest.approx(alone[:2])
    assert macro_of(BITS, [texts[:1], texts[:1]]).interval == (0.0, 4.0)


def test_forms_of_a_set_are_right_together_in_a_category() -> None:
    one, two = (loaded(name, "x") for name in ("a_mc", "a_cloze"))
    assert set_of({}, "wmt14-en-fr") == set_of({}, "wmt14-fr-en") != set_of({}, "xcopa_it") == set_of({}, "xcopa_th")
    found = {}
    for files in ("file", "other"):
        evaluated = {"a_mc": (one, outcomes(1.0, 0.0)), "a_cloze": (two._replace(files=(files,)), outcomes(1.0, 0.0))}
        results = summarize(evaluated, {})
        found[files] = results["categories"]["x"]["error"] / results["tasks"]["a_mc"]["error"]
    assert found == {"file": pytest.approx(1.0), "other": pytest.approx(math.sqrt(0.5))}


def test_always_taking_one_place_is_no_skill() -> None:
    values = {"interval": [30.0, 40.0], "chance": 25.0, "majority": 35.0}
    assert not certain(values)
    assert certain(values | {"majority": 25.0})
