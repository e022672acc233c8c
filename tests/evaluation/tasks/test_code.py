"""Tests tasks whose answers are programs: what is asked, what is run, and what that scores."""

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.judging import judge
from palmetto.evaluation.loading import Loaded, load
from palmetto.evaluation.queries import Manner, ask, requests
from palmetto.evaluation.registry import TASKS
from palmetto.evaluation.results import summarize
from palmetto.evaluation.tasks.code import pass_at
from palmetto.evaluation.tasks.reading import find
from palmetto.files import write_bytes, write_text
from palmetto.sandbox.running import require
from tests.evaluation.models import reader
from tests.evaluation.tasks import records

DOUBLE = {
    "task_id": "HumanEval/0",
    "prompt": 'import math\n\ndef double(x: int) -> int:\n    """Return twice x.\n    >>> double(2)\n    4\n    """\n',
    "canonical_solution": "    return 2 * x\n",
    "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
    "entry_point": "double",
}
SHORTEST = {
    **DOUBLE,
    "task_id": "HumanEval/1",
    "prompt": 'def shortest(words):\n    """ Return the shortest word. """\n',
    "canonical_solution": "    if not words:\n        return None\n    return min(words, key=len)\n",
    "test": "def check(candidate):\n    assert candidate([]) is None\n    assert candidate(['ab', 'c']) == 'c'\n",
    "entry_point": "shortest",
}


def problem(number: int, name: str) -> dict[str, Any]:
    return {
        "task_id": number,
        "text": f"Write {name}.",
        "code": f"def {name}(x):\r\n  return x + {number} ",
        "test_setup_code": "one = 1" if number == 11 else "",
        "test_list": [
            f"assert {name}({'one' if number == 11 else 1}) == {number + 1}",
            f"assert {name}(0) == {number}",
        ],
        "challenge_test_list": [],
    }


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    packed = gzip.compress(records.lines(DOUBLE, SHORTEST).encode())
    write_bytes(tmp_path / "humaneval" / "HumanEval.jsonl.gz", packed)
    problems = [problem(number, f"add_{number}") for number in (1, 2, 3, 4, 10, 11, 510, 511)]
    write_text(tmp_path / "mbpp" / "mbpp.jsonl", records.lines(*problems))
    return tmp_path


@pytest.fixture
def jail() -> None:
    try:
        require()
    except UserError as error:
        pytest.skip(str(error))


def scores(loaded: Loaded, answers: list[list[str]]) -> dict[str, Any]:
    """Returns the results if the model answers the first examples so, with a sample for each answer."""
    outcomes = []
    for place, texts in enumerate(answers):
        example, seeds = loaded.examples[place], range(len(texts) if len(texts) > 1 else 0)
        queries = ask(loaded.task, example, (), reader(4096), list(seeds))
        assert len(queries) == len(texts) + 1
        given = [*texts, queries[-1].continuation]
        outcomes.append(judge(loaded.task, str(place), example, queries, [[-1.0]] * len(given), given))
    results: dict[str, Any] = summarize({loaded.task.name: (loaded, outcomes)}, {})["tasks"][loaded.task.name]
    return results


def test_humaneval_asks_for_the_rest_of_a_function(sets: Path) -> None:
    loaded = load(TASKS["humaneval"], sets)
    query, _ = ask(loaded.task, loaded.examples[0], (), reader(4096))
    assert query.context == DOUBLE["prompt"]
    assert loaded.examples[1].demonstration == f"{SHORTEST['prompt']}{SHORTEST['canonical_solution']}"
    request = requests(Manner(loaded.task.stop, loaded.task.sampling), reader().vocabulary)
    assert request(query).constraint is not None


def test_mbpp_shows_its_three_problems(sets: Path) -> None:
    loaded = load(TASKS["mbpp"], sets)
    query, _ = ask(loaded.task, loaded.examples[0], (), reader(4096))
    assert len(loaded.examples) == 2
    assert query.context.startswith(
        "You are an expert Python programmer, and here is your task: Write add_2. Your code should pass these tests:"
        "\n\nassert add_2(1) == 3\nassert add_2(0) == 2\n[BEGIN]\ndef add_2(x):\n  return x + 2\n[DONE]\n\nYou are"
    )
    assert query.context.endswith("assert add_11(one) == 12\nassert add_11(0) == 11\n[BEGIN]\n")
    assert query.context.count("[DONE]") == 3


@pytest.mark.usefixtures("jail")
def test_the_right_program_scores_all_and_none_nothing(sets: Path) -> None:
    for name in ("humaneval", "mbpp"):
        loaded = load(TASKS[name], sets)
        end = {"humaneval": "\ndef next_one(", "mbpp": "\n[DONE]\n\nYou are"}[name]
        gold = [[f"\n{example.answers[0]}{end}"] for example in loaded.examples]
        assert scores(loaded, gold)["value"] == 100.0
        empty = scores(loaded, [[end]] * 2)
        assert (empty["value"], empty["unparsed"]) == (0.0, 2)
    assert (
        scores(load(TASKS["humaneval"], sets), [["\n    return 4\n"], ["\n    import os; os._exit(0)\n"]])["value"] == 0
    )


@pytest.mark.usefixtures("jail")
def test_samples_are_scored_by_both_estimators(sets: Path) -> None:
    right, wrong = "\n    return x + x\n", "\n    return x\n"
    results = scores(load(TASKS["humaneval"], sets), [[wrong] * 3 + [right], [wrong] * 4])
    assert results["value"] == pytest.approx(100 * (1 / 4) / 2)
    assert results["metrics"] == {"pass@1": 12.5, "any@4": 50.0}


def test_the_unbiased_estimate_is_the_mean_over_choices() -> None:
    for samples, passed, k in ((5, 2, 1), (5, 2, 3), (6, 5, 2), (4, 0, 2), (4, 4, 4)):
        outcomes = [place < passed for place in range(samples)]
        chosen = [any(some) for some in itertools.combinations(outcomes, k)]
        assert pass_at(k, samples, passed) == pytest.approx(sum(chosen) / len(chosen))


@pytest.mark.usefixtures("jail")
def test_the_first_programs_at_hand_pass(shared_data: Path) -> None:
    folder = shared_data / "eval"
    if find(TASKS["mbpp"].tests, folder) is None:
        pytest.skip("the files of mbpp are not at hand")
    loaded = load(TASKS["mbpp"], folder)
    assert len(loaded.examples) == 500
    assert scores(loaded, [[f"\n{example.answers[0]}\n[DONE]"] for example in loaded.examples[:12]])["value"] == 100.0


def test_mbpp_without_its_shots_is_refused(sets: Path) -> None:
    write_text(sets / "mbpp" / "mbpp.jsonl", records.lines(problem(2, "add_2"), problem(11, "add_11")))
    with pytest.raises(UserError, match=r"mbpp.jsonl: no problem 3 and 4; expected all that its paper shows"):
        load(TASKS["mbpp"], sets)


def test_a_record_without_tests_is_refused(sets: Path) -> None:
    record = {key: value for key, value in DOUBLE.items() if key != "test"}
    write_bytes(sets / "humaneval" / "HumanEval.jsonl.gz", gzip.compress(json.dumps(record).encode()))
    with pytest.raises(UserError, match=r"record 0: no 'test'; expected lines of JSON with task_id"):
        load(TASKS["humaneval"], sets)
