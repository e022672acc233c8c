"""Tests summaries and texts made of data: prompts, references, and ROUGE as rouge-score computes it."""

import json
from pathlib import Path

import pytest

from palmetto.evaluation.loading import load
from palmetto.evaluation.queries import ask
from palmetto.evaluation.registry import TASKS
from palmetto.files import write_text
from tests.evaluation.models import reader, vocabulary

pytest.importorskip("rouge_score", reason="needs the extra metrics")


def test_restaurants_have_all_their_texts(tmp_path: Path) -> None:
    text = 'mr,ref\n"name[X], food[pizza]",X has pizza.\n"name[X], food[pizza]",Pizza at X.\nname[Y],Y is open.\n'
    write_text(tmp_path / "e2e_nlg" / "testset_w_refs.csv", text)
    first, second = load(TASKS["e2e_nlg"], tmp_path).examples
    assert first.demonstration == "Verbalize: name[X], food[pizza]\n\nText: X has pizza."
    assert first.answers == ("X has pizza.", "Pizza at X.")
    mark = TASKS["e2e_nlg"].mark
    assert mark is not None
    assert mark(" Pizza at X.", first) == {"rouge1": 1.0, "rouge2": 1.0, "rougeLsum": 1.0}
    assert mark(" ", second) is None


def test_an_english_summary_has_rouge_scores_value(tmp_path: Path) -> None:
    record = {"document": "A long article.", "target": "The cats were sleeping on the sofas", "references": []}
    write_text(tmp_path / "gem" / "xsum" / "test.jsonl", json.dumps(record))
    [example] = load(TASKS["xsum"], tmp_path).examples
    assert example.context == "Summarize the following article: A long article.\n\nText:"
    mark = TASKS["xsum"].mark
    assert mark is not None
    answer = "a cat was sleeping on the sofa"
    from rouge_score import rouge_scorer  # its own imports take a second

    theirs = rouge_scorer.RougeScorer(["rouge2"], use_stemmer=True).score(record["target"], answer)
    assert mark(answer, example) == {**(mark(answer, example) or {}), "rouge2": theirs["rouge2"].fmeasure}
    assert theirs["rouge2"].fmeasure > 0


@pytest.mark.parametrize("name", ["xsum", "web_nlg_en", "flores200-eng_Latn-deu_Latn"])
def test_a_text_too_long_loses_its_own_end(name: str) -> None:
    record = dict.fromkeys(("document", "input", "source"), "It starts here. " + "text " * 80) | {"target": "It is."}
    task, example = TASKS[name], TASKS[name].example(record)
    asked, _, _ = example.context.partition(" It starts")
    for length in range(40, 120):
        query, _ = ask(task, example, [example], reader(length))
        seen = vocabulary().decode(query.ids)
        assert query.truncated
        assert len(query.ids) + query.tokens <= length
        assert seen.startswith(example.context[: len(seen) - len(example.ending)])
        assert seen.endswith(example.ending)
    assert seen.startswith(f"{asked} It starts here. text")


def test_other_scripts_have_words_too(tmp_path: Path) -> None:
    record = {"input": ["a | b | c"], "target": "Кот сидит дома", "references": []}
    write_text(tmp_path / "gem" / "web_nlg_ru" / "test.jsonl", json.dumps(record))
    [example] = load(TASKS["web_nlg_ru"], tmp_path).examples
    mark = TASKS["web_nlg_ru"].mark
    assert mark is not None
    assert mark("кот сидит", example) == pytest.approx({"rouge1": 0.8, "rouge2": 2 / 3, "rougeLsum": 0.8})
