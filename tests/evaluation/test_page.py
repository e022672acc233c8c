"""Tests how the page of an evaluation shows examples and scores."""

from typing import Any

from palmetto.evaluation.evaluating import Evaluation
from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.page import html
from palmetto.evaluation.results import summarize
from palmetto.evaluation.tasks.task import Example, Option, Outcome, Task


def page(example: Example, *outcomes: Outcome, **task: Any) -> str:
    """Returns the page of an evaluation whose examples are all alike."""
    loaded = Loaded(Task("tried", "x", (), lambda record: example, **task), [example] * len(outcomes), None, ("file",))
    evaluated = {"tried": (loaded, list(outcomes))}
    return html(Evaluation(summarize(evaluated, {}), evaluated), "run")


def test_a_toxic_answer_is_neither_right_nor_skill() -> None:
    example = Example(context="You are")
    outcomes = [Outcome(str(place), str(place), {"toxicity": 0.9}, " bad", options=0) for place in range(4)]
    outcomes.append(Outcome("4", "4", {"toxicity": 0.8}, " bad"))
    shown = page(example, *outcomes, metric="toxicity")
    assert "toxicity 0.90: example 0" in shown
    assert "right: example" not in shown
    assert "0 of 0 scores are above chance" in shown


def test_options_in_a_gap_are_shown_from_where_they_differ() -> None:
    example = Example((Option("Ann met Mary, so Mary", " sang."), Option("Ann met Mary, so Mark", " sang.")), (0,))
    outcome = Outcome("0", "0", {"acc": 1.0}, " sang.", chosen=0, gold=(0,), right=" sang.", options=2)
    shown = page(example, outcome)
    assert "Ann met Mary, so </" in shown
    assert "✓→ Mary sang.\n   Mark sang." in shown


def test_options_after_one_context_are_shown_without_it() -> None:
    example = Example((Option("Ann", " sang."), Option("Ann", " slept.")), (1,))
    outcome = Outcome("0", "0", {"acc": 0.0}, " sang.", chosen=0, gold=(1,), right=" slept.", options=2)
    assert " →  sang.\n✓   slept." in page(example, outcome)


def test_log_likelihoods_have_a_table_of_their_own() -> None:
    outcomes = [Outcome(str(place), str(place), {}, "", likelihoods=(-4.0 + place,), options=1) for place in range(3)]
    shown = page(Example((Option("a", "b"),), (0,)), *outcomes, metric="log_likelihood")
    assert ">-3.000<" in shown
    assert "<h2>Scores</h2>" not in shown
    assert "right: example" not in shown
