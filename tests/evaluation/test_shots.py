"""Tests the choice of shots."""

from dataclasses import replace
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.loading import Loaded, load
from palmetto.evaluation.registry import TASKS
from palmetto.evaluation.shots import choose
from palmetto.evaluation.tasks.task import Example, Task
from palmetto.files import write_text
from tests.evaluation.models import prompt
from tests.evaluation.tasks.records import lines

POOL = [Example(context=f"Q: {n}\nA:", answers=(str(n),)) for n in range(50)]


def test_shots_are_a_function_of_seed_and_example() -> None:
    assert choose(POOL, 5, 1, "7", False) == choose(POOL, 5, 1, "7", False)
    assert choose(POOL, 5, 1, "7", False) != choose(POOL, 5, 2, "7", False)
    assert choose(POOL, 5, 1, "7", False) != choose(POOL, 5, 1, "8", False)


def test_no_shot_is_repeated_and_no_more_than_all() -> None:
    assert sorted(choose(POOL, 99, 0, "0", False), key=POOL.index) == POOL


def test_shots_in_order_are_the_first() -> None:
    assert choose(POOL, 3, 5, "7", True) == POOL[:3]


def test_an_example_is_never_its_own_shot() -> None:
    task = Task("t", "c", (), lambda record: POOL[0])
    loaded = Loaded(task, POOL[:4], None, ())
    for place in range(4):
        assert sorted(loaded.shots(place, 9, 0), key=POOL.index) == [POOL[n] for n in range(4) if n != place]


def test_a_shot_never_shares_the_examples_passage() -> None:
    examples = [replace(each, cluster=f"passage {place // 3}") for place, each in enumerate(POOL[:9])]
    loaded = Loaded(Task("t", "c", (), lambda record: POOL[0]), examples, None, ())
    for place, example in enumerate(examples):
        shots = loaded.shots(place, 6, 0)
        assert len(shots) == 6
        assert example.cluster not in {shot.cluster for shot in shots}


def test_too_few_records_for_the_shots_are_refused(tmp_path: Path) -> None:
    records = [{"question": text, "answer": [text]} for text in "abc"]
    write_text(tmp_path / "nq_open" / "NQ-open.dev.jsonl", lines(*records))
    loaded = load(TASKS["nq_open"], tmp_path)
    for count in (None, 0, 2):
        loaded.check_shots(count)
    with pytest.raises(UserError, match=r"nq_open: 2 examples for shots in nq_open/NQ-open.dev.jsonl; expected 3, or"):
        loaded.check_shots(3)
    others = [{"question": text, "answer": [text]} for text in "xyz"]
    write_text(tmp_path / "nq_open" / "NQ-open.train.jsonl", lines(*records, *others))
    with_training = load(TASKS["nq_open"], tmp_path)
    with_training.check_shots(3)
    with pytest.raises(UserError, match=r"nq_open: 3 examples for shots in .*; expected 4"):
        with_training.check_shots(4)  # the questions themselves do not count
    assert {shot.answers for shot in with_training.shots(0, 3, 0)} == {("x",), ("y",), ("z",)}
    of_one_passage = loaded._replace(examples=[replace(each, cluster="one") for each in loaded.examples])
    with pytest.raises(UserError, match="0 examples for shots"):
        of_one_passage.check_shots(1)


def test_shots_of_mmlu_are_its_dev_files_alone(tmp_path: Path) -> None:
    def write(part: str, count: int) -> None:
        rows = [f"{part} {number}?,a,b,c,d,A\n" for number in range(count)]
        write_text(tmp_path / "mmlu" / part / f"virology_{part}.csv", "".join(rows))

    write("dev", 5)
    assert load(TASKS["mmlu_virology"], tmp_path).files == ("mmlu/dev/virology_dev.csv",)
    write("test", 9)
    loaded = load(TASKS["mmlu_virology"], tmp_path)
    loaded.check_shots(5)
    assert [shot.options[0].context[:5] for shot in loaded.shots(3, 5, 0)] == [f"dev {number}" for number in range(5)]
    with pytest.raises(UserError, match=r"5 examples for shots in mmlu/test/.*, mmlu/dev/virology_dev.csv; expected 6"):
        loaded.check_shots(6)
    (tmp_path / "mmlu" / "dev" / "virology_dev.csv").unlink()
    alone = load(TASKS["mmlu_virology"], tmp_path)
    alone.check_shots(0)
    with pytest.raises(UserError, match=r"mmlu_virology: no mmlu/dev/virology_dev.csv for its shots; expected a table"):
        alone.check_shots(1)


def test_a_prompt_has_instruction_shots_and_question() -> None:
    task = Task("t", "c", (), lambda record: POOL[0], instruction="Do.\n")
    example = Example(context="Q: x\nA:", answers=("x",))
    assert prompt(task, example, POOL[1:3]) == "Do.\nQ: 1\nA: 1\n\nQ: 2\nA: 2\n\nQ: x\nA:"
