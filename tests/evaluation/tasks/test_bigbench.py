"""Tests BIG-bench's JSON: prompts with the defaults and with the file's own words, and the marks."""

import json
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.loading import load
from palmetto.evaluation.registry import TASKS
from palmetto.evaluation.shots import prompt
from palmetto.evaluation.tasks.bigbench import _normalized
from palmetto.evaluation.tasks.task import Outcome
from palmetto.files import write_text

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
    text = prompt(loaded.task.instruction, loaded.shots(1, 1, 0), second.options[0].context)
    assert text.startswith("Think.\nQ: Is it?")
    assert "A: Yes\n\nQ: Is he?" in text


def test_the_files_own_words_replace_the_defaults(tmp_path: Path) -> None:
    own = {"example_input_prefix": "", "example_output_prefix": " Answer: ", "append_choices_to_input": False}
    loaded = load(OPTIONS, write(tmp_path, "strategyqa", examples=TWO, few_shot_example_separator="\n#\n", **own))
    assert prompt("", loaded.shots(1, 1, 0), loaded.examples[1].options[0].context) == (
        "Is it? Answer: Yes\n#\nIs he? Answer: "
    )


def test_an_answer_is_what_the_pattern_finds(tmp_path: Path) -> None:
    examples = [{"input": "1 op 2", "target": ["3", "three"]}]
    for pattern, text, expected in (
        (None, " three! No.", 1.0),
        (None, "3 or 4", 0.0),
        (r"\d+", "It is 3 or 4", 1.0),
    ):
        folder = write(tmp_path, "operators", examples=examples, **({"output_regex": pattern} if pattern else {}))
        [example] = load(ANSWERS, folder).examples
        assert ANSWERS.mark is not None
        assert ANSWERS.mark(text, example) == {"em": expected}
        assert ANSWERS.mark("", example) is None


def test_the_normalized_metric_is_zero_at_chance() -> None:
    outcomes = [Outcome(str(n), str(n), {"acc": float(n < 5)}, "", gold=(0,), options=4) for n in range(10)]
    assert _normalized(outcomes)["normalized"] == pytest.approx((0.5 - 0.25) / 0.75)


def test_a_task_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="record 0: no target_scores"):
        load(OPTIONS, write(tmp_path, "strategyqa", examples=[{"input": "x", "target": "y"}]))


def test_tasks_at_hand_have_their_prompts(shared_data: Path) -> None:
    penguins = load(TASKS["bigbench_penguins_in_a_table_generate_until"], shared_data / "eval")
    assert penguins.task.instruction.startswith("Here is a table where the first line is a header")
    assert penguins.examples[0].demonstration == "\nWhat animals are listed in the table? Answer: penguins"
    tracking = load(TASKS["bigbench_tracking_shuffled_objects_multiple_choice"], shared_data / "eval")
    assert tracking.examples[0].demonstration.endswith("At the end of the game, Alice has the blue ball.")
