"""Tests whole evaluations of a small model, with likelihoods against a float64 reference."""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from palmetto.decoding.request import GREEDY, Finish
from palmetto.errors import UserError
from palmetto.evaluation import registry, replay
from palmetto.evaluation.comparison import compare_all
from palmetto.evaluation.evaluating import Evaluation, run
from palmetto.evaluation.model import EvaluatedModel
from palmetto.evaluation.page import html as page_of
from palmetto.evaluation.queries import Manner, generating
from palmetto.evaluation.tasks.task import Outcome
from palmetto.json_lines import read_json_lines
from palmetto.sandbox import running
from tests.evaluation.models import LENGTH, logprobs, reader, vocabulary
from tests.evaluation.small import PREMISES, SETTINGS, Counting


def test_log_probabilities_are_the_references(done: tuple[Path, Evaluation]) -> None:
    for line in read_json_lines(done[0] / "ledger.jsonl"):
        expected = logprobs([*line["ids"], *line["continuation_ids"]])[len(line["ids"]) - 1 :]
        assert [float.fromhex(text) for text in line["logprobs"]] == pytest.approx(expected, abs=2e-4)


def test_the_chosen_option_has_the_references_highest_likelihood(done: tuple[Path, Evaluation]) -> None:
    outcomes = done[1].evaluated["copa"][1]
    lines = [line for line in read_json_lines(done[0] / "ledger.jsonl") if line["task"] == "copa"]
    for outcome in outcomes:
        own = [line for line in lines if line["example"] == outcome.example and not line["unconditional"]]
        sums = [sum(logprobs([*line["ids"], *line["continuation_ids"]])[len(line["ids"]) - 1 :]) for line in own]
        assert outcome.chosen == sums.index(max(sums))
    right = sum(outcome.chosen in outcome.gold for outcome in outcomes)
    assert done[1].results["tasks"]["copa"]["bits_per_byte"] > 0
    answers = [line for line in read_json_lines(done[0] / "ledger.jsonl") if line["task"] == "nq_open"]
    assert [line["answer"] for line in answers[1::2]] == [f" {text}" for text in PREMISES]
    nats = sum(
        sum(logprobs([*line["ids"], *line["continuation_ids"]])[len(line["ids"]) - 1 :]) for line in answers[1::2]
    )
    expected = -nats / math.log(2) / sum(map(len, PREMISES))
    assert done[1].results["tasks"]["nq_open"]["bits_per_byte"] == pytest.approx(expected, abs=1e-3)
    assert done[1].results["tasks"]["copa"]["value"] == pytest.approx(100 * right / len(PREMISES))


def test_results_have_the_stable_names(done: tuple[Path, Evaluation]) -> None:
    for values in done[1].results["tasks"].values():
        assert {"metric", "value", "interval", "count", "truncated", "unparsed"} <= values.keys()
        low, high = values["interval"]
        assert 0 <= low <= values["value"] <= high <= 100
        assert values["count"] == len(PREMISES)
    line = read_json_lines(done[0] / "ledger.jsonl")[0]
    assert {"task", "example", "ids", "continuation_ids", "logprobs", "truncated", "answer"} <= line.keys()
    assert line["ids"][0] == vocabulary().eod


def test_another_evaluation_in_the_folder_is_refused(
    done: tuple[Path, Evaluation], evaluate: Callable[..., Evaluation]
) -> None:
    with pytest.raises(UserError, match=r"holds an evaluation with shots=1; expected 0, or another --out"):
        evaluate(done[0], settings=SETTINGS._replace(shots=0))


def test_more_shots_than_there_are_is_refused_first(
    evaluate: Callable[..., Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    engine = Counting(model)
    with pytest.raises(UserError, match=r"copa: 4 examples for shots in superglue/COPA/val.jsonl; expected 5, or"):
        evaluate(tmp_path / "out", engine, settings=SETTINGS._replace(shots=5))
    assert engine.requests == 0


def test_a_limit_takes_the_first_examples(evaluate: Callable[..., Evaluation], tmp_path: Path) -> None:
    limited = evaluate(tmp_path, settings=SETTINGS._replace(limit=2), names=["copa"])
    assert [outcome.example for outcome in limited.evaluated["copa"][1]] == ["0", "1"]


def test_examples_are_shown_as_they_are_done(model: EvaluatedModel, data: Path, tmp_path: Path) -> None:
    shown = []

    def follow(name: str, total: int, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            shown.append((name, outcome.example, total, (tmp_path / "results.json").exists()))
            yield outcome

    of = registry.choose(["copa"], data), data, SETTINGS._replace(limit=2), model.identity, model.engine, model.reader
    run(*of, tmp_path, lambda text: None, follow)
    assert shown == [("copa", "0", 2, False), ("copa", "1", 2, False)]


def test_the_page_shows_scores_and_examples(done: tuple[Path, Evaluation]) -> None:
    html = page_of(done[1], "a <run>")
    assert "a &lt;run&gt;" in html
    for name, values in done[1].results["tasks"].items():
        assert f">{name}<" in html
        assert f">{values['value']:.1f}<" in html
    assert "the text because" in html
    assert page_of(done[1], "a <run>") == html


def test_the_model_reads_as_far_as_it_was_trained(model: EvaluatedModel) -> None:
    assert model.reader.prompts == reader().prompts._replace(vocabulary=model.reader.vocabulary)
    assert model.reader.length == LENGTH


@pytest.mark.parametrize("beams", [0, 3])
def test_an_answer_ends_within_and_across_tokens(
    done: tuple[Path, Evaluation], model: EvaluatedModel, beams: int
) -> None:
    lines = (line for line in read_json_lines(done[0] / "ledger.jsonl") if line["option"] < 0)
    line = next(line for line in lines if len(line["continuation_ids"]) > 4)
    texts = [model.reader.text(line["continuation_ids"][:count]) for count in range(1, 5)]
    within, across = texts[3][len(texts[2])], texts[3][len(texts[2]) - 1 :][:2]
    for stop in (within, across):
        request = generating(Manner((stop,), GREEDY, beams), vocabulary(), tuple(line["ids"]), line["prefix"], 16, None)
        [[result]] = model.engine.run([request])
        ids = [token.id for token in result.tokens]
        held = [stop in model.reader.text(ids[:count]) for count in range(1, len(ids) + 1)]
        assert not any(held[:-1]), "it goes on behind the stop string"
        assert held[-1] == (result.finish == Finish.STOP) or ids[-1] == vocabulary().eod
        if not beams:
            assert held[-1]
            assert ids == line["continuation_ids"][: len(ids)]


@pytest.mark.slow
def test_sampled_programs_are_run_and_do_not_vote(evaluate: Callable[..., Evaluation], tmp_path: Path) -> None:
    try:
        running.require()
    except UserError as error:
        pytest.skip(str(error))
    settings = SETTINGS._replace(shots=0, samples=2)
    values = evaluate(tmp_path, settings=settings, names=["humaneval"]).results["tasks"]["humaneval"]
    assert (values["metric"], values["metrics"]) == ("pass@1", {"pass@1": 0.0, "any@2": 0.0})
    assert len(read_json_lines(tmp_path / "ledger.jsonl")) == 3


def test_without_a_jail_no_program_is_asked_for(
    evaluate: Callable[..., Evaluation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = running.run

    def refuse(code: str, *, confined: bool = True) -> running.Outcome:
        if confined:
            raise UserError("the kernel lacks Landlock")
        return real(code, confined=False)

    monkeypatch.setattr(running, "run", refuse)
    running.require.cache_clear()
    with pytest.raises(UserError, match="humaneval: the kernel lacks Landlock; --unsafe-code runs"):
        evaluate(tmp_path / "out", names=["humaneval"])
    assert not (tmp_path / "out").exists()
    allowed = evaluate(tmp_path / "out", names=["humaneval"], settings=SETTINGS._replace(shots=0, unsafe_code=True))
    task = allowed.evaluated["humaneval"][0].task
    assert task.mark is not None
    [example] = allowed.evaluated["humaneval"][0].examples
    assert task.mark("\n    return text\n", example) == {"pass@1": 1.0}
    assert task.mark("\n    return 'y'\n", example) == {"pass@1": 0.0}


def test_texts_are_scored_once_with_what_is_before(
    evaluate: Callable[..., Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    done = evaluate(tmp_path, names=["paloma", "copa"])
    lines = [line for line in read_json_lines(tmp_path / "ledger.jsonl") if line["task"] == "paloma_ptb"]
    first = [line for line in lines if line["example"] == "0"]
    text = "def wrap(text):\n    return text\n" * 20
    assert [id for line in first for id in line["continuation_ids"]] == vocabulary().encode(text).tolist()
    assert max(len(line["ids"]) + len(line["continuation_ids"]) for line in first) == LENGTH
    assert all(len(line["ids"]) == LENGTH // 2 for line in first[1:])
    nats = sum(sum(logprobs([*line["ids"], *line["continuation_ids"]])[len(line["ids"]) - 1 :]) for line in lines)
    values = done.results["tasks"]["paloma_ptb"]
    assert values["value"] == pytest.approx(-nats / math.log(2) / (len(text) + 2), abs=1e-3)
    assert done.results["tasks"]["paloma"]["value"] == values["value"]
    assert list(done.results["categories"]) == ["SuperGLUE"]
    assert f">{values['value']:.3f}<" in page_of(done, "x")
    assert compare_all([tmp_path, tmp_path])["tasks"]["paloma_ptb"]["first"]["value"] == values["value"]
    assert replay.verify(tmp_path, model)[1] == ""
