"""StrategyQA (arXiv 2101.02235) and the hard tasks of BIG-bench (arXiv 2210.09261)."""

from functools import partial
from pathlib import Path

from palmetto.evaluation.answers import same
from palmetto.evaluation.tasks.reading import json_list
from palmetto.evaluation.tasks.superglue import NO_OR_YES
from palmetto.evaluation.tasks.task import Example, File, Record, Source, Task, choice
from palmetto.files import read_json

_NAMES = """
boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages formal_fallacies
geometric_shapes hyperbaton logical_deduction_five_objects logical_deduction_seven_objects
logical_deduction_three_objects movie_recommendation multistep_arithmetic_two navigate object_counting
penguins_in_a_table reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks
sports_understanding temporal_sequences tracking_shuffled_objects_five_objects tracking_shuffled_objects_seven_objects
tracking_shuffled_objects_three_objects web_of_lies word_sorting
"""
HARD = tuple(_NAMES.split())


def _strategy(record: Record) -> Example:
    return choice(f"Q: {record['question']}\nA:", NO_OR_YES, int(record["answer"]))


def _examples(path: Path) -> list[Record]:
    return list(read_json(path)["examples"])


def _hard(record: Record) -> Example:
    return Example(context=f"Q: {record['input']}\nA:", answers=(record["target"],))


def tests(name: str) -> Source:
    """Returns the file of a hard task of BIG-bench."""
    return (File(f"bigbench_hard/{name}.json", _examples, "JSON with examples, each with input and target"),)


def _hard_task(name: str) -> Task:
    # The longest targets are sorted words.
    return Task(f"bbh_{name}", "Reasoning", tests(name), _hard, metric="em", mark=partial(same, "em"), tokens=128)


def _strategy_file(name: str) -> File:
    return File(f"strategyqa/{name}.json", json_list, "a list of question and answer, true or false")


_HARD_TASKS = tuple(map(_hard_task, HARD))
_STRATEGY = (_strategy_file("dev"), _strategy_file("train_first500"))

STRATEGYQA = Task("strategyqa", "Reasoning", _STRATEGY, _strategy, (_strategy_file("train"),))
TASKS = (STRATEGYQA, *_HARD_TASKS)
GROUPS = {"bbh": tuple(task.name for task in _HARD_TASKS)}
