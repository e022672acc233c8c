"""Tests chains of thought: exemplars in front, and the answer at the end."""

import json
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.loading import load
from palmetto.evaluation.registry import TASKS, choose
from palmetto.evaluation.tasks.chains import stated
from palmetto.files import write_text
from tests.evaluation.models import prompt
from tests.evaluation.tasks import records


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_text(
        tmp_path / "eval" / "gsm8k" / "test.jsonl", json.dumps({"question": "1 and 2?", "answer": "1+2\n#### 3"})
    )
    examples = {"examples": [{"input": "not True is", "target": "False"}]}
    write_text(tmp_path / "eval" / "bigbench_hard" / "boolean_expressions.json", json.dumps(examples))
    write_text(
        tmp_path / "cot" / "gsm8k_mmlu" / "prompt_original.txt",
        "Question: 2?\nLet's think step by step\nThe answer is 2.\n",
    )
    write_text(
        tmp_path / "cot" / "bbh" / "boolean_expressions.txt", "canary\n-----\nEvaluate.\n\nQ: x\nA: So the answer is y."
    )
    return tmp_path / "eval"


def test_exemplars_stand_in_front_instead_of_shots(data: Path) -> None:
    loaded = load(TASKS["gsm8k_cot"], data)
    assert loaded.shots(0, 5, 0) == []
    assert prompt(loaded.task, loaded.examples[0]) == (
        "Question: 2?\nLet's think step by step\nThe answer is 2.\n\nQuestion: 1 and 2?\nLet's think step by step\n"
    )
    hard = load(TASKS["bbh_cot_boolean_expressions"], data)
    assert prompt(hard.task, hard.examples[0]) == (
        "Evaluate.\n\nQ: x\nA: So the answer is y.\n\nQ: not True is\nA: Let's think step by step."
    )
    assert (hard.task.instruction, hard.task.exemplars) == ("Evaluate.\n\n", ("Q: x\nA: So the answer is y.\n\n",))


@pytest.mark.parametrize(
    ("name", "path", "content", "expected"),
    [
        ("bbh_cot_boolean_expressions", "bbh/boolean_expressions.txt", "canary\n\nQ: x\nA: y.", "no line with -----"),
        ("bbh_cot_boolean_expressions", "bbh/boolean_expressions.txt", "canary\n-----\nEvaluate.", "no question"),
        ("gsm8k_cot", "gsm8k_mmlu/prompt_original.txt", "", "no question in it; expected worked examples"),
    ],
)
def test_a_file_without_exemplars_is_refused(name: str, path: str, content: str, expected: str, data: Path) -> None:
    write_text(data.parent / "cot" / path, content)
    with pytest.raises(UserError, match=f"{path}: {expected}"):
        load(TASKS[name], data)


def test_missing_exemplars_are_named(data: Path) -> None:
    (data.parent / "cot" / "gsm8k_mmlu" / "prompt_original.txt").unlink()
    with pytest.raises(UserError, match=r"gsm8k_cot: .*cot/gsm8k_mmlu/prompt_original.txt: no such file"):
        choose(["gsm8k_cot"], data)


def test_the_answer_is_what_the_chain_states() -> None:
    assert stated("2 + 1 = 3. The answer is 3.\nQ: x. The answer is 4.") == "3"
    assert stated("So the answer is (B).") == "(B)"
    assert stated("It is 3.") is None


def test_numbers_are_marked_with_and_without_the_calculator(data: Path) -> None:
    loaded = load(TASKS["gsm8k_cot"], data)
    mark, [example] = loaded.task.mark, loaded.examples
    assert mark is not None
    assert mark("1 + 2 = 3. The answer is 3.", example) == {"em": 1.0, "em_calculator": 1.0}
    assert mark("1 + 2 = 4. The answer is 4.", example) == {"em": 0.0, "em_calculator": 1.0}
    assert mark("The answer is $3,000.", example) == {"em": 0.0, "em_calculator": 0.0}
    assert mark("I do not know. The answer is no.", example) is None


def test_letters_and_yes_or_no_are_picked_from_a_chain(data: Path) -> None:
    for name, record, text, vote in (
        ("aqua_cot", {"question": "2?", "options": ["A)1", "B)2"], "correct": "B"}, "So the answer is (b).", "b"),
        ("commonsense_qa_cot", records.exam("Where?", ["bank", "mall"], "B"), "The answer is B.", "b"),
        ("strategyqa_cot", {"question": "Is it?", "answer": True}, "So the answer is yes.", "yes"),
    ):
        task = TASKS[name]
        file = task.tests[0]
        content = records.lines(record) if file.path.endswith("l") or name == "aqua_cot" else json.dumps([record])
        write_text(data / file.path, content)
        with pytest.raises(UserError, match=f"cot/{name.removesuffix('_cot')}.txt: no such file"):
            choose([name], data)
        write_text(data.parent / "cot" / f"{name.removesuffix('_cot')}.txt", "Q: x\nA: The answer is y.")
        [example] = load(task, data).examples
        assert task.mark is not None
        assert task.mark(text, example) == {"em": 1.0}
        assert task.vote(text) == vote
        assert task.vote("The answer is a dog.") is None
        assert task.mark("I do not know.", example) is None
        assert example.context.endswith("\nA:")


def test_exemplars_at_hand_answer_their_questions(shared_data: Path) -> None:
    for name, last in (("gsm8k_cot", "The answer is 8.\n\n"), ("bbh_cot_boolean_expressions", "answer is True.\n\n")):
        assert load(TASKS[name], shared_data / "eval").task.exemplars[-1].endswith(last)
