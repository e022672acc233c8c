"""MMLU (arXiv 2009.03300): four answers to questions of 57 subjects, whose shots are the subject's first five."""

import io
from collections.abc import Iterator
from pathlib import Path

from palmetto import tables
from palmetto.errors import UserError
from palmetto.evaluation.tasks.exams import lettered
from palmetto.evaluation.tasks.reading import text
from palmetto.evaluation.tasks.task import Example, File, Record, Task

_CATEGORIES = {
    "stem": """
        abstract_algebra astronomy college_biology college_chemistry college_computer_science college_mathematics
        college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics
        high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics
        high_school_physics high_school_statistics machine_learning
    """,
    "humanities": """
        formal_logic high_school_european_history high_school_us_history high_school_world_history international_law
        jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law
        world_religions
    """,
    "social_sciences": """
        econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics
        high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations
        security_studies sociology us_foreign_policy
    """,
    "other": """
        anatomy business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing
        medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology
    """,
}
"""The four categories of its paper, each with its subjects."""
SUBJECTS = tuple(sorted(subject for names in _CATEGORIES.values() for subject in names.split()))


def _rows(path: Path) -> Iterator[Record]:
    """Yields the rows of a table without a head: question, four answers, and the letter of the right one."""
    for number, row in enumerate(tables.reader(io.StringIO(text(path), newline="")), 1):
        if len(row) != 6 or row[5] not in ("A", "B", "C", "D"):
            raise UserError(f"{path}: row {number}: expected a question, four answers and A, B, C or D")
        yield {"question": row[0], "options": row[1:5], "gold": "ABCD".index(row[5])}


def _example(record: Record) -> Example:
    return lettered(record["question"].strip(), record["options"], record["gold"])


def _file(part: str, subject: str) -> File:
    return File(f"mmlu/{part}/{subject}_{part}.csv", _rows, "a table of question, four answers and a letter")


def _task(subject: str) -> Task:
    header = "The following are multiple choice questions (with answers) about {}.\n\n"
    # The five questions of dev are shots; they are evaluated only where no test is at hand, and `files` then says so.
    test, validation, shots = (_file(part, subject) for part in ("test", "val", "dev"))
    return Task(
        f"mmlu_{subject}",
        "Knowledge",
        (test, validation, shots),
        _example,
        (shots,),
        in_order=True,
        instruction=header.format(subject.replace("_", " ")),
        unconditional="Answer:",
    )


TASKS = tuple(map(_task, SUBJECTS))
CATEGORIES = {f"mmlu_{name}": tuple(f"mmlu_{each}" for each in names.split()) for name, names in _CATEGORIES.items()}
GROUPS = {"mmlu": tuple(task.name for task in TASKS), **CATEGORIES}
