"""Tests the results of a ladder as values, tables and a page."""

import json
from pathlib import Path

import numpy as np
import pytest

from palmetto.ladder import page
from palmetto.ladder.plan import Cost, Rung, Target
from palmetto.ladder.results import Ladder, Result, combine
from palmetto.planning import energy
from palmetto.runs.directory import RunDirectory
from palmetto.scaling.laws import Law
from palmetto.sweeps.children import Member
from palmetto.sweeps.outcomes import Outcome
from palmetto.training.report.record import Validations
from tests.conftest import RecipeMaker
from tests.training.report.test_page import Page

LAW = Law(np.array(2.0), np.array([40.0, 300.0]), np.array([0.4, 0.4]))
AT = Cost(1_000_000, 20_000_000, 1.2e14)
"""The target, which reaches what the law says."""
SIZES, RATIOS = (1e4, 3e4, 9e4, 3e5), (10.0, 20.0, 40.0)


def make(recipe: RecipeMaker, done: int = 12, reason: str = "", with_target: bool = True) -> Ladder:
    """A ladder whose first `done` runs follow the law, with noise, and whose largest run is the target."""
    generator, results = np.random.default_rng(2), list[Result]()
    for size in SIZES:
        for ratio in RATIOS:
            cost = Cost(int(size), int(size * ratio), 6 * size * size * ratio)
            member = Member("", recipe(f"training.steps={len(results) + 1}"), RunDirectory(Path(f"{size:g}-{ratio:g}")))
            loss = float(LAW(np.array([size, size * ratio])) * np.exp(0.002 * generator.standard_normal()))
            seen = Validations(np.array([1.0]), np.array([loss]))
            finished = len(results) < done
            status, why = ("done", "") if finished else ("failed", reason) if reason else ("waiting", "")
            outcome = Outcome(status, why, 1, seen, "ab" * 32 if finished else None)  # type: ignore[arg-type]
            used = energy.here(recipe("training.peak_flops=1e11"), cost.flops) if finished else None
            results.append(Result(Rung(size, ratio, member, cost), outcome, used, 2e10, 1.5))
    target = Target(Member("", recipe(), RunDirectory(Path("nowhere"))), AT)
    ladder = combine("small", results, target if with_target else None)
    reached = float(LAW(np.array([AT.parameters, AT.tokens], float)))
    return ladder._replace(prediction=ladder.prediction and ladder.prediction._replace(reached=reached))


@pytest.fixture(scope="module")
def finished(tiny_recipe: RecipeMaker) -> Ladder:
    return make(tiny_recipe)


def test_values_have_the_fit_and_the_prediction(finished: Ladder) -> None:
    values = page.values(finished)
    assert json.loads(json.dumps(values))["predicted"] == values["predicted"]
    assert {"rungs", "fit", "predicted", "interval"} <= values.keys()
    fit = values["fit"]["parameters_and_tokens"]
    assert fit["runs"] == len(values["rungs"]) == 12
    for name, value in {"E": 2.0, "A": 40.0, "B": 300.0, "alpha": 0.4, "beta": 0.4}.items():
        low, high = fit["intervals"][name]
        assert low <= value <= high, name
    low, high = values["interval"]
    assert low < values["target"]["validation_loss"] < high
    assert abs(values["target"]["miss"]) < 0.01
    assert values["fit"]["compute"]["b"] < 0, "a·C^b falls"
    best = values["fit"]["optimum"]
    assert 6 * best["parameters"] * best["tokens"] == pytest.approx(values["target"]["flops"])
    assert values["target"]["energy"]["hours"] == pytest.approx(values["target"]["flops"] / 2e10 / 3600)


def test_a_ladder_that_is_not_finished_says_what_is_missing(tiny_recipe: RecipeMaker) -> None:
    ladder = make(tiny_recipe, done=2, reason="the spike came back")
    values = page.values(ladder)
    assert (values["predicted"], values["interval"]) == (None, None)
    text = page.markdown(ladder)
    assert "nothing can be predicted yet; 2 of 12 runs are finished" in text
    assert "2 runs, and the law has 5 constants" in text
    assert "30000-20 failed: the spike came back" in text
    assert page.values(make(tiny_recipe, done=0))["fit"]["optimum"] is None


def test_the_table_has_every_run(finished: Ladder) -> None:
    rows = [line for line in page.markdown(finished).splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(SIZES) * len(RATIOS)
    assert len({row.count("|") for row in rows}) == 1


def test_the_page_stands_alone(finished: Ladder) -> None:
    text = page.html(finished)
    parsed = Page(text)
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "link", "img")]
    assert sum(tag == "figure" for tag, _ in parsed.tags) == 3
    assert "predicted loss" in text


def test_a_page_can_be_read_from_the_beginning(tiny_recipe: RecipeMaker) -> None:
    """The first is written before any run, and the same results give the same bytes."""
    begun = make(tiny_recipe, done=0)
    text = page.html(begun)
    assert text == page.html(begun)
    assert "nothing to draw" in text
    assert "nothing can be predicted yet; 0 of 12 runs are finished" in text


def test_without_a_target_ten_times_the_compute_is_divided(tiny_recipe: RecipeMaker) -> None:
    values = page.values(make(tiny_recipe, with_target=False))
    assert (values["predicted"], values["target"]) == (None, None)
    assert values["fit"]["parameters_and_tokens"]["runs"] == 12
    assert values["fit"]["optimum"]["flops"] == pytest.approx(10 * values["rungs"][-1]["flops"])
