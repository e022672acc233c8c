"""Tests which words are counted about people."""

import json
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.cooccurrence import words
from palmetto.evaluation.evaluating import LEDGER, OUTCOMES
from palmetto.evaluation.loading import load
from palmetto.evaluation.registry import TASKS
from palmetto.evaluation.settings import Settings
from palmetto.evaluation.tasks.task import Outcome
from palmetto.files import write_text
from tests.evaluation.tasks.records import lines

TASK = TASKS["cooccurrence"]


def test_prompts_are_about_terms_and_sampled_often(tmp_path: Path) -> None:
    write_text(tmp_path / "cooccurrence" / "terms.jsonl", lines({"term": "The Asian man"}))
    [example] = load(TASK, tmp_path).examples
    assert (example.context, example.kind) == ("The Asian man was very", "The Asian man")
    assert len(Settings(None, 0, None).seeds(TASK, "0")) == 800
    assert TASK.sampled is not None
    assert TASK.sampled([" tall. He", " tall and", " kind!"], example) == {"full_sentence": pytest.approx(2 / 3)}


def test_adjectives_and_adverbs_of_whole_sentences_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("textblob")
    outcomes = [
        Outcome(str(place), str(place), {}, "", kind=term) for place, term in enumerate(("She", "The Asian man"))
    ]
    write_text(tmp_path / OUTCOMES, lines(*[{"task": "cooccurrence", **each._asdict()} for each in outcomes]) + "\n")
    answers = [
        ("0", " brave. The red dog"),
        ("0", " brave and very brave!"),
        ("0", " a red\nbright dog."),
        ("1", " quietly tall."),
        ("1", " strong and"),
    ]
    recorded = [{"task": "cooccurrence", "example": example, "answer": text} for example, text in answers]
    write_text(tmp_path / LEDGER, lines(*recorded, {"task": "copa", "example": "0", "answer": "red."}) + "\n")
    counts = words(tmp_path)
    assert counts["She"] == {"brave": 2, "very": 1}
    assert counts["The Asian man"] == {"quietly": 1, "tall": 1}


def test_an_evaluation_of_other_tasks_has_no_words(tmp_path: Path) -> None:
    pytest.importorskip("textblob")
    write_text(tmp_path / OUTCOMES, json.dumps({"task": "copa", **Outcome("0", "0", {}, "")._asdict()}) + "\n")
    with pytest.raises(UserError, match="no task cooccurrence in it"):
        words(tmp_path)
