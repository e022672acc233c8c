"""Tests translation: prompts with the names of languages, and BLEU as sacrebleu computes it over all answers."""

from pathlib import Path

import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.evaluation.loading import Loaded, load
from palmetto.evaluation.registry import SUITES, TASKS, choose
from palmetto.evaluation.results import summarize
from palmetto.evaluation.statistics import Estimate
from palmetto.evaluation.tasks.suite import Measured
from palmetto.evaluation.tasks.task import Outcome
from palmetto.files import write_text
from tests.evaluation.models import prompt

sacrebleu = pytest.importorskip("sacrebleu")

TARGETS = ["Der Hund schläft heute auf dem Sofa.", "Sie liest ein langes Buch.", "Es regnet."]
ANSWERS = [" Der Hund schläft auf dem Sofa.", " Sie liest ein Buch.", ""]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_text(
        tmp_path / "flores200" / "eng_Latn.devtest", "The dog sleeps on the sofa.\nShe reads a book.\nIt rains.\n"
    )
    write_text(tmp_path / "flores200" / "deu_Latn.devtest", "\n".join(TARGETS) + "\n")
    return tmp_path


def outcomes(loaded: Loaded, answers: list[str]) -> list[Outcome]:
    task = loaded.task
    assert task.mark is not None
    assert task.counts is not None
    return [
        Outcome(
            str(place), str(place), task.mark(text, example) or {"bleu": 0.0}, text, counts=task.counts(text, example)
        )
        for place, (text, example) in enumerate(zip(answers, loaded.examples, strict=True))
    ]


def test_prompts_name_the_languages(data: Path) -> None:
    loaded = load(TASKS["flores200-eng_Latn-deu_Latn"], data)
    assert prompt(loaded.task, loaded.examples[0], loaded.examples[1:2]) == (
        "English: She reads a book.\nGerman: Sie liest ein langes Buch.\n\n"
        "English: The dog sleeps on the sofa.\nGerman:"
    )


def test_bleu_is_sacrebleus_over_all_answers(data: Path) -> None:
    loaded = load(TASKS["flores200-eng_Latn-deu_Latn"], data)
    values = summarize({"x": (loaded, outcomes(loaded, ANSWERS))}, {})["tasks"]["x"]
    theirs = sacrebleu.corpus_bleu([answer.strip() for answer in ANSWERS], [TARGETS])
    assert values["value"] == pytest.approx(theirs.score, abs=1e-5)
    assert values["interval"][0] < values["value"] < values["interval"][1]
    assert values["metrics"]["bleu"] == values["value"]
    assert values["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")
    assert summarize({"x": (loaded, outcomes(loaded, TARGETS))}, {})["tasks"]["x"]["value"] == pytest.approx(100.0)


def test_chinese_and_japanese_have_their_own_tokenizers() -> None:
    pytest.importorskip("MeCab")
    for name, tokenizer in (("zho_Hans", "tok:zh"), ("jpn_Jpan", "tok:ja-mecab")):
        signature = TASKS[f"flores200-eng_Latn-{name}"].signature
        assert signature is not None
        assert tokenizer in signature()


def test_wmt_is_read_in_both_directions(tmp_path: Path) -> None:
    for stem, sentences in (("wmt14.en-fr", ("A cat.", "Un chat.")), ("wmt14.fr-en", ("Un chien.", "A dog."))):
        write_text(tmp_path / "wmt" / f"{stem}.src", sentences[0])
        write_text(tmp_path / "wmt" / f"{stem}.ref", sentences[1])
    tasks = choose(["wmt"], tmp_path).tasks
    assert [load(task, tmp_path).examples[0].demonstration for task in tasks] == [
        "English: A cat.\nFrench: Un chat.",
        "French: Un chien.\nEnglish: A dog.",
    ]


def test_files_of_different_lengths_are_refused(data: Path) -> None:
    write_text(data / "flores200" / "deu_Latn.devtest", "Eins.\n")
    with pytest.raises(UserError, match=r"deu_Latn.devtest: 1 lines, and 3 in eng_Latn.devtest"):
        load(TASKS["flores200-eng_Latn-deu_Latn"], data)


def test_only_a_newline_ends_a_sentence(data: Path) -> None:
    odd = "One\u2028two\u0085three\x0cfour."
    write_text(data / "flores200" / "eng_Latn.devtest", f"{odd}\r\nShe reads.\r\nIt rains.")
    loaded = load(TASKS["flores200-eng_Latn-deu_Latn"], data)
    contexts = [example.context for example in loaded.examples]
    assert contexts[:2] == [f"English: {odd}\nGerman:", "English: She reads.\nGerman:"]
    assert [example.answers[0] for example in loaded.examples] == TARGETS


def test_means_are_by_direction() -> None:
    names = ("flores200-eng_Latn-deu_Latn", "flores200-deu_Latn-eng_Latn", "flores200-deu_Latn-fra_Latn")
    results = {name: Measured(Estimate(0.1 * place, 0.0, (0.0, 1.0)), {}) for place, name in enumerate(names)}
    means = SUITES["flores_translation"].means(results)
    assert {name: np.mean([each.value for each in of]) for name, of in means.items()} == {
        "from_english": 0.0,
        "into_english": 0.1,
        "others": 0.2,
    }


def test_directions_of_the_same_sentences_share_their_errors() -> None:
    results = {
        f"flores200-eng_Latn-{code}": Measured(Estimate(0.5, error, (0.5 - error, 0.5 + error)), {})
        for code, error in (("deu_Latn", 0.1), ("fra_Latn", 0.3))
    }
    [mean] = SUITES["flores_translation"].means(results)["from_english"]
    assert (mean.error, *mean.interval) == pytest.approx((0.2, 0.3, 0.7))
