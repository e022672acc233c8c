"""Tests the ledger of a small model's evaluation: that its bits stand alone, resume, and are replayed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation import harness, replay
from palmetto.evaluation.evaluating import Evaluation
from palmetto.evaluation.model import EvaluatedModel
from palmetto.evaluation.queries import scoring
from palmetto.evaluation.settings import run_of
from palmetto.json_lines import read_json_lines
from tests.evaluation.models import vocabulary
from tests.evaluation.small import NAMES, PREMISES, SETTINGS, Counting


def test_company_and_order_change_no_bit(
    done: tuple[Path, Evaluation],
    evaluate: Callable[..., Evaluation],
    model: EvaluatedModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(harness, "TOGETHER", 3)
    evaluate(tmp_path / "alone", Counting(model, alone=True), names=NAMES[::-1])
    lines = sorted((done[0] / "ledger.jsonl").read_text().splitlines())
    assert sorted((tmp_path / "alone" / "ledger.jsonl").read_text().splitlines()) == lines


@pytest.mark.parametrize("calls", [3, 7])
def test_a_killed_evaluation_goes_on_to_the_same_files(
    done: tuple[Path, Evaluation],
    evaluate: Callable[..., Evaluation],
    model: EvaluatedModel,
    calls: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(harness, "TOGETHER", 2)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, Counting(model, calls=calls))
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    resumed = Counting(model)
    evaluate(tmp_path, resumed)
    for name in ("ledger.jsonl", "outcomes.jsonl", "results.json", "evaluation.json"):
        assert (tmp_path / name).read_bytes() == (done[0] / name).read_bytes(), name
    again = Counting(model)
    evaluate(tmp_path, again)
    assert again.requests == 0 < resumed.requests


def test_replay_finds_a_changed_log_probability(
    done: tuple[Path, Evaluation], evaluate: Callable[..., Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    lines = len(read_json_lines(done[0] / "ledger.jsonl"))
    assert replay.verify(done[0], model) == (lines, "")
    evaluate(tmp_path)
    ledger = tmp_path / "ledger.jsonl"
    first = read_json_lines(ledger)[0]["logprobs"][0]
    ledger.write_text(ledger.read_text().replace(first, (float.fromhex(first) * (1 - 2**-20)).hex(), 1))
    replayed, difference = replay.verify(tmp_path, model)
    assert (replayed, difference.partition(": log")[0]) == (0, "ledger.jsonl: line 1, example 0 of copa")
    assert run_of(tmp_path)[1] == 8
    ledger.write_text('{"task": "copa"}\n')
    with pytest.raises(UserError, match="line 1 is not one of an evaluation"):
        replay.verify(tmp_path, model)


def test_lines_of_the_ledger_are_replayed_where_asked(
    done: tuple[Path, Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    for name in ("ledger.jsonl", "evaluation.json"):
        (tmp_path / name).write_bytes((done[0] / name).read_bytes())
    lines = read_json_lines(tmp_path / "ledger.jsonl")
    changed = float.fromhex(lines[-1]["logprobs"][0]) * (1 - 2**-20)
    lines[-1]["logprobs"][0] = changed.hex()
    (tmp_path / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert replay.verify(tmp_path, model, 2, len(lines) - 1) == (len(lines) - 2, "")
    replayed, difference = replay.verify(tmp_path, model, len(lines) - 1)
    assert (replayed, difference.partition(",")[0]) == (1, f"ledger.jsonl: line {len(lines)}")
    for first, last in ((0, None), (3, 2), (None, len(lines) + 1)):
        with pytest.raises(UserError, match=f"expected lines of the ledger, which has 1 to {len(lines)}"):
            replay.verify(tmp_path, model, first, last)


def test_replay_finds_an_answer_that_its_ids_do_not_spell(
    evaluate: Callable[..., Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    evaluate(tmp_path, settings=SETTINGS._replace(limit=2), names=["nq_open"])
    assert replay.verify(tmp_path, model) == (4, "")
    lines = read_json_lines(tmp_path / "ledger.jsonl")
    lines[2]["answer"] += "!"
    (tmp_path / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert replay.verify(tmp_path, model) == (
        0,
        "ledger.jsonl: line 3, example 1 of nq_open: the answer is not the text of its ids",
    )


def test_an_answer_is_generated_again_as_its_line_says(
    evaluate: Callable[..., Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    two, one = SETTINGS._replace(limit=2), SETTINGS._replace(limit=1, samples=2)
    for name, settings in {"greedy": two, "drawn": one, "searched": two._replace(beams=2)}.items():
        evaluate(tmp_path / name, settings=settings, names=["nq_open"])
        lines = [line for line in read_json_lines(tmp_path / name / "ledger.jsonl") if line["option"] < 0]
        limits = {(line["tokens"], *line["stop"]) for line in lines}
        assert (len(lines), limits) == (2, {(32, "\n")})
        asked = {"drawn": {"sampling": {"temperature": 0.7, "top_k": 40}}, "searched": {"beams": 2}}.get(name, {})
        assert {key: lines[1][key] for key in ("sampling", "beams") if key in lines[1]} == asked
        assert replay.verify(tmp_path / name, model)[1] == ""
        lines[1]["tokens"] = len(lines[1]["continuation_ids"]) - 1
        (tmp_path / name / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        replayed, difference = replay.verify(tmp_path / name, model)
        assert (replayed, difference.partition(", example")[0]) == (1, "ledger.jsonl: line 2")
        assert "of nq_open: the answer is " in difference


def test_an_answer_that_the_model_did_not_give_is_found(
    evaluate: Callable[..., Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    evaluate(tmp_path, settings=SETTINGS._replace(limit=1), names=["nq_open"])
    line, _ = read_json_lines(tmp_path / "ledger.jsonl")
    ids = vocabulary().encode(" the text").tolist()
    [[scored]] = model.engine.run([scoring(line["ids"], ids, line["prefix"])])
    logprobs = [token.logprob.hex() for token in scored.prompt if token.logprob is not None]
    invented = line | {"continuation_ids": ids, "logprobs": logprobs, "answer": " the text"}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(invented) + "\n")
    assert "of nq_open: the answer is " in replay.verify(tmp_path, model)[1]
    (tmp_path / "ledger.jsonl").write_text(json.dumps(invented | {"stop": 7}) + "\n")
    with pytest.raises(UserError, match=r"line 1 does not say how its answer was generated"):
        replay.verify(tmp_path, model)
    older = {key: value for key, value in line.items() if key not in ("tokens", "stop")}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(older) + "\n")
    assert replay.verify(tmp_path, model) == (1, ""), "ledgers of earlier versions are scored"


def test_a_beam_search_answers_otherwise_and_replays(
    done: tuple[Path, Evaluation], evaluate: Callable[..., Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    evaluate(tmp_path, settings=SETTINGS._replace(beams=4), names=["nq_open"])
    greedy = [line for line in read_json_lines(done[0] / "ledger.jsonl") if line["task"] == "nq_open"]
    searched = read_json_lines(tmp_path / "ledger.jsonl")
    assert [line["ids"] for line in searched] == [line["ids"] for line in greedy]
    assert [line["continuation_ids"] for line in searched[::2]] != [line["continuation_ids"] for line in greedy[::2]]
    assert searched[1::2] == greedy[1::2], "the right answers have the same likelihoods"
    assert replay.verify(tmp_path, model) == (2 * len(PREMISES), "")


def test_sampled_answers_differ_and_are_replayed(
    evaluate: Callable[..., Evaluation], model: EvaluatedModel, tmp_path: Path
) -> None:
    settings = SETTINGS._replace(samples=3, limit=2)
    for folder, engine in (("one", None), ("alone", Counting(model, alone=True))):
        evaluate(tmp_path / folder, engine, settings=settings, names=["nq_open"])
    lines = read_json_lines(tmp_path / "one" / "ledger.jsonl")
    assert read_json_lines(tmp_path / "alone" / "ledger.jsonl") == lines
    assert [line["example"] for line in lines] == ["0"] * 4 + ["1"] * 4
    assert len({tuple(line["continuation_ids"]) for line in lines[:3]}) == 3
    assert replay.verify(tmp_path / "one", model) == (8, "")
    with pytest.raises(UserError, match="expected one of them"):
        settings._replace(beams=2).check()
