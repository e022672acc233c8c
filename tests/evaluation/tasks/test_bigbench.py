"""Tests BIG-bench's JSON: prompts with the defaults and with the file's own words, and the marks."""

import json
import math
import pickle
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.judging import judge
from palmetto.evaluation.loading import load
from palmetto.evaluation.queries import ask
from palmetto.evaluation.registry import SUITES, TASKS, choose
from palmetto.evaluation.results import summarize
from palmetto.evaluation.statistics import Estimate
from palmetto.evaluation.tasks import bigbench_metrics as metrics
from palmetto.evaluation.tasks.bigbench_humans import FILE, humans
from palmetto.evaluation.tasks.suite import Measured
from palmetto.evaluation.tasks.task import Example, Outcome
from palmetto.files import write_bytes, write_text
from palmetto.report.scores import certain
from tests.evaluation.models import prompt, reader
from tests.evaluation.tasks.test_gold import outcome

OPTIONS, ANSWERS = TASKS["bigbench_strategyqa_multiple_choice"], TASKS["bigbench_operators_generate_until"]
TWO = [
    {"input": "Is it?", "target_scores": {"Yes": 1, "No": 0}},
    {"input": "Is he?", "target_scores": {"Yes": 0, "No": 1}},
]


def write(folder: Path, name: str, **content: object) -> Path:
    write_text(folder / "bigbench_json" / f"{name}.json", json.dumps(content))
    return folder


def test_defaults_are_those_of_bigbench(tmp_path: Path) -> None:
    loaded = load(OPTIONS, write(tmp_path, "strategyqa", examples=TWO, task_prefix="Think."))
    first, second = loaded.examples
    assert sorted(first.options[0].context.split("\n")) == ["", "  choice: No", "  choice: Yes", "A: ", "Q: Is it?"]
    assert [option.continuation for option in first.options] == ["Yes", "No"]
    assert (first.gold, second.gold) == ((0,), (1,))
    text = prompt(loaded.task, second, loaded.shots(1, 1, 0))
    assert text.startswith("Think.\nQ: Is it?")
    assert "A: Yes\n\nQ: Is he?" in text


def test_the_files_own_words_replace_the_defaults(tmp_path: Path) -> None:
    own = {"example_input_prefix": "", "example_output_prefix": " Answer: ", "append_choices_to_input": False}
    loaded = load(OPTIONS, write(tmp_path, "strategyqa", examples=TWO, few_shot_example_separator="\n#\n", **own))
    assert prompt(loaded.task, loaded.examples[1], loaded.shots(1, 1, 0)) == ("Is it? Answer: Yes\n#\nIs he? Answer: ")


def test_an_answer_is_what_the_pattern_finds(tmp_path: Path) -> None:
    examples = [{"input": "1 op 2", "target": ["3", "three"]}]
    for pattern, text, expected in (
        (None, " three! No.", 1.0),
        (None, "3 or 4", 0.0),
        (r"\d+", "It is 3 or 4", 1.0),
        (r"([-+]?\d+)[.]{0,1}$", " 3.", 1.0),
    ):
        folder = write(tmp_path, "operators", examples=examples, **({"output_regex": pattern} if pattern else {}))
        [example] = load(ANSWERS, folder).examples
        assert ANSWERS.mark is not None
        marks = ANSWERS.mark(text, example)
        assert marks is not None
        assert marks["exact_str_match"] == expected
        assert ANSWERS.mark("", example) is None


def test_options_may_score_a_part(tmp_path: Path) -> None:
    examples = [{"input": "x", "target_scores": {"Yes": 1, "Perhaps": 0.5, "No": 0}}]
    loaded = load(OPTIONS, write(tmp_path, "strategyqa", examples=examples))
    chosen = [outcome(loaded, 0, place) for place in range(3)]
    assert [each.scores[metrics.GRADE] for each in chosen] == [1.0, 0.5, 0.0]
    values = [summarize({"x": (loaded, [each])}, {})["tasks"]["x"] for each in chosen]
    assert [each["chance"] for each in values] == [50.0] * 3
    assert [each["majority"] for each in values] == [100.0] * 3
    assert [each["metrics"]["normalized"] for each in values] == pytest.approx([100.0, 0.0, -100.0])


def test_options_in_the_prompt_are_shuffled_alike_in_each_example(tmp_path: Path) -> None:
    scores = {letter: float(letter == "a") for letter in "abcdefg"}
    examples = [{"input": "x", "target_scores": scores}] * 3
    contexts = {
        example.options[0].context
        for example in load(OPTIONS, write(tmp_path, "strategyqa", examples=examples)).examples
    }
    assert len(contexts) == 1


def test_confidence_and_weights_of_options() -> None:
    def of(right: bool, *chances: float) -> Outcome:
        credits = {metrics.GRADE: (1.0, 0.0)}
        logs = tuple(map(math.log, chances))
        answer = "a" if chances[0] > chances[1] else "b"
        return Outcome(
            "", "", {metrics.GRADE: float(right)}, answer, right="a", options=2, likelihoods=logs, credits=credits
        )

    figures = metrics.of_options([of(True, 0.4, 0.1), of(False, 0.1, 0.3)])
    assert figures["calibration_multiple_choice_brier_score"] == pytest.approx((0.2**2 + 0.75**2) / 2)
    assert figures["expected_calibration_error"] == pytest.approx((abs(1 - 0.8) + abs(0 - 0.75)) / 2)
    assert figures["weighted_probabilities"] == pytest.approx((0.4 + 0.1) / 2)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0.0) / 2)


@pytest.mark.parametrize(
    ("name", "response", "targets", "expected"),
    [
        ("exact_str_match", "yes", ["no", "yes"], 1.0),
        ("exact_str_match", "Yes", ["yes"], 0.0),
        ("case_insensitive_str_match", " Yes ", ["yes"], 1.0),
        ("sequence_f1", "O B-PER", ["O B-PER O I-LOC"], 0.75),
        ("sequence_f1", "O O O", ["O"], 1.0),
        ("numeric_match_with_0_1_relative_error", "109.9", ["100"], 1.0),
        ("numeric_match_with_0_1_relative_error", "111", ["100"], 0.0),
        ("numeric_match_with_0_1_relative_error", "none", ["100"], 0.0),
        ("numeric_match_with_0_1_relative_error", "0.05", ["0"], 1.0),
    ],
)
def test_matches_are_those_of_bigbench(name: str, response: str, targets: list[str], expected: float) -> None:
    assert metrics.MATCHES[name](response, targets) == expected


def test_a_file_names_its_own_metrics(tmp_path: Path) -> None:
    content = {"name": "rhymes", "metrics": ["exact_str_match", "log_likelihood"], "preferred_score": "log_likelihood"}
    path = tmp_path / "task.json"
    write_text(
        path,
        json.dumps({**content, "examples": [{"input": "a", "target": ["b", "c d"]}, {"input": "a", "target": "e"}]}),
    )
    [task] = choose([str(path)], tmp_path).tasks
    loaded = load(task, tmp_path)
    assert (task.name, task.metric) == ("bigbench_rhymes", "log_likelihood")
    likely = [
        Outcome("0", "0", {}, "", likelihoods=(-2.0, -3.0), options=2),
        Outcome("1", "1", {}, "", likelihoods=(-4.0,), options=1),
    ]
    values = summarize({task.name: (loaded, likely)}, {})["tasks"][task.name]
    assert values["value"] == pytest.approx((math.log(math.exp(-2) + math.exp(-3)) - 4) / 2, abs=1e-5)
    write_text(path, json.dumps({**content, "preferred_score": "bleurt", "examples": []}))
    with pytest.raises(UserError, match=r"bleurt cannot be computed \(it needs weights"):
        choose([str(path)], tmp_path)


def test_the_mean_of_all_tasks_is_of_normalized_metrics() -> None:
    estimate = Estimate(0.9, 0.1, (0.7, 1.0))
    results = {
        name: Measured(estimate, {"normalized": estimate.centred(chance)}) for name, chance in (("x", 0.95), ("y", 0.5))
    }
    [low, high] = SUITES["bigbench"].means(results)["normalized"]
    assert (low.value, high.value) == pytest.approx((-1.0, 0.8))


def test_a_normalized_score_lies_in_its_own_interval(tmp_path: Path) -> None:
    loaded = load(OPTIONS, write(tmp_path, "strategyqa", examples=TWO * 20))
    judged = [outcome(loaded, place, int(place > 12)) for place in range(40)]
    results = summarize({OPTIONS.name: (loaded, judged)}, {}, {"bigbench": SUITES["bigbench"]})
    own, normalized = results["tasks"][OPTIONS.name], results["suites"]["bigbench"]["figures"]["normalized"]
    assert normalized["value"] == own["metrics"]["normalized"] == pytest.approx(2 * own["value"] - 100)
    assert normalized["error"] == pytest.approx(2 * own["error"], abs=1e-5)
    assert normalized["interval"] == pytest.approx([2 * bound - 100 for bound in own["interval"]], abs=1e-5)


def test_preferred_f1_has_an_error_of_its_own(tmp_path: Path) -> None:
    content = {"name": "labels", "metrics": ["macro_f1"], "preferred_score": "macro_f1", "examples": TWO * 20}
    path = tmp_path / "task.json"
    write_text(path, json.dumps(content))
    [task] = choose([str(path)], tmp_path).tasks
    loaded = load(task, tmp_path)
    judged = [outcome(loaded, place, int(place > 12)) for place in range(40)]
    assert task.estimates is not None
    found = task.estimates(judged, Estimate(0.0, 0.0, (0.0, 0.0)))["normalized"]
    assert found.value == pytest.approx(metrics.of_options(judged)["macro_f1"])
    assert found.interval[0] < found.value < found.interval[1]


def test_an_answer_ends_at_the_files_stop_string(tmp_path: Path) -> None:
    examples = [{"input": "1 op 2", "target": "3\n4"}]
    task = load(ANSWERS, write(tmp_path, "operators", examples=examples, stop_string="END")).task
    assert task.stop == ("END",)
    assert load(ANSWERS, write(tmp_path, "operators", examples=examples)).task.stop == ()
    example = Example(context="x", answers=("3\n4",))
    queries = ask(task, example, (), reader())
    assert judge(task, "0", example, queries, [[-1.0]] * 2, [" 3\n4 END 5", ""]).answer == " 3\n4 END"


def test_log_likelihoods_are_in_no_category_and_always_finite(tmp_path: Path) -> None:
    content = {"name": "rhymes", "metrics": ["log_likelihood"], "preferred_score": "log_likelihood"}
    path = tmp_path / "task.json"
    write_text(path, json.dumps({**content, "examples": [{"input": "a", "target": "b"}]}))
    [task] = choose([str(path)], tmp_path).tasks
    loaded, likely = load(task, tmp_path), Outcome("0", "0", {}, "", likelihoods=(-4.0,), options=1, right="b")
    results = summarize({task.name: (loaded, [likely])}, {"all": [task.name]})
    assert results["categories"] == {}
    values = results["tasks"][task.name]
    assert (values["interval"], values["chance"], values["majority"]) == ([-8.0, 0.0], 0.0, 0.0)
    assert values["metrics"]["normalized"] == pytest.approx(60.0)
    assert not certain(values)
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_a_task_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="record 0: no target_scores"):
        load(OPTIONS, write(tmp_path, "strategyqa", examples=[{"input": "x", "target": "y"}]))


def test_tasks_at_hand_have_their_prompts(shared_data: Path) -> None:
    penguins = load(TASKS["bigbench_penguins_in_a_table_generate_until"], shared_data / "eval")
    assert penguins.task.instruction.startswith("Here is a table where the first line is a header")
    assert penguins.examples[0].demonstration == "\nWhat animals are listed in the table? Answer: penguins"
    tracking = load(TASKS["bigbench_tracking_shuffled_objects_multiple_choice"], shared_data / "eval")
    assert tracking.examples[0].demonstration.endswith("At the end of the game, Alice has the blue ball.")


def test_human_raters_are_read_from_a_pickle_of_numbers_only(tmp_path: Path) -> None:
    score = {"normalized_aggregate_score": 60.5}
    ratings = {"average": {"strategyqa": score}, "expert": {"strategyqa": {"normalized_aggregate_score": 90.0}}}
    path = tmp_path / FILE
    write_bytes(path, pickle.dumps(ratings))
    assert humans("strategyqa", tmp_path) == {"human average": 60.5, "best human": 90.0}
    assert humans("operators", tmp_path) == {}
    loaded = load(OPTIONS, write(tmp_path, "strategyqa", examples=TWO))
    results = summarize({OPTIONS.name: (loaded, [outcome(loaded, 0, 0)])}, {}, {"bigbench": SUITES["bigbench"]})
    assert results["tasks"][OPTIONS.name]["references"]["human average"] == 60.5
    assert results["suites"]["bigbench"]["references"] == {"human average": 60.5, "best human": 90.0}
    assert results["suites"]["bigbench"]["rated"] == 1
    for content in (pickle.dumps(Path("x")), b"no pickle", pickle.dumps([1])):
        write_bytes(path, content)
        with pytest.raises(UserError, match="not BIG-bench's file of human raters"):
            humans("strategyqa", tmp_path)
