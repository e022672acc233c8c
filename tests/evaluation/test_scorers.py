"""Tests that a scorer that prefers an option at random scores chance, on every task with options."""

import random
from pathlib import Path

import pytest

from palmetto.evaluation.loading import Loaded, load
from palmetto.evaluation.registry import TASKS
from palmetto.evaluation.results import summarize
from palmetto.evaluation.tasks.reading import find
from tests.evaluation.tasks import records
from tests.evaluation.tasks.test_gold import FIRST, outcome

DRAWS, MOST = 200, 4


def check_chance(loaded: Loaded) -> None:
    """Draws favourites, and compares the mean of all scores with the chance that the results name."""
    draw, count, values = random.Random(0), min(MOST, len(loaded.examples)), []
    sizes = [len(example.options) for example in loaded.examples[:count]]
    # An outcome depends on the favourite alone, so each is computed once.
    known = [[outcome(loaded, place, option) for option in range(size)] for place, size in enumerate(sizes)]
    for _ in range(DRAWS):
        chosen = [draw.choice(options) for options in known]
        summary = summarize({loaded.task.name: (loaded, chosen)}, {})["tasks"][loaded.task.name]
        values.append(summary["value"])
    spread = (sum((value - summary["chance"]) ** 2 for value in values) / DRAWS) ** 0.5
    assert abs(sum(values) / DRAWS - summary["chance"]) <= 4 * spread / DRAWS**0.5 + 1e-6


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    records.write(folder)
    return folder


def test_a_random_scorer_scores_chance_on_sets_written_here(written: Path) -> None:
    loaded = [load(TASKS[name], written) for name in records.SETS]
    with_options = [each for each in loaded if each.examples[0].options]
    assert len(with_options) > 10
    for each in with_options:
        check_chance(each)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in FIRST if TASKS[name].mark is None))
def test_a_random_scorer_scores_chance_on_sets_at_hand(name: str, shared_data: Path) -> None:
    if find(TASKS[name].tests, shared_data / "eval") is None:
        pytest.skip(f"the files of {name} are not at hand")
    check_chance(load(TASKS[name], shared_data / "eval"))
