"""Tests the choice of shots."""

from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.shots import choose, prompt
from palmetto.evaluation.tasks.task import Example, Task

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


def test_a_prompt_has_instruction_shots_and_question() -> None:
    assert prompt("Do.\n", POOL[1:3], "Q: x\nA:") == "Do.\nQ: 1\nA: 1\n\nQ: 2\nA: 2\n\nQ: x\nA:"
