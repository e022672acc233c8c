"""Tests whole evaluations of a small model: bits, resuming, replay, and likelihoods against a float64 reference."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from palmetto.decoding.request import GREEDY, Finish, Request, Result
from palmetto.errors import UserError
from palmetto.evaluation import harness, registry, replay
from palmetto.evaluation.comparison import compare_all
from palmetto.evaluation.evaluating import Evaluation, run
from palmetto.evaluation.model import EvaluatedModel
from palmetto.evaluation.page import html as page_of
from palmetto.evaluation.queries import Manner, generating, scoring
from palmetto.evaluation.settings import Settings, run_of
from palmetto.evaluation.tasks.task import Outcome
from palmetto.json_lines import read_json_lines
from palmetto.sandbox import running
from tests.conftest import RecipeMaker
from tests.evaluation.models import LENGTH, logprobs, reader, trained, vocabulary

NAMES = ("copa", "nq_open")
SETTINGS = Settings(shots=1, seed=0, limit=None)
PREMISES = ("the text", "a line of text", "def wrap", "the paragraph", "white space")

PROGRAM = {
    "task_id": "HumanEval/0",
    "prompt": 'def wrap(text):\n    """Return text."""\n',
    "canonical_solution": "    return text\n",
    "test": "def check(candidate):\n    assert candidate('x') == 'x'\n",
    "entry_point": "wrap",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for path, records in (
        (
            "superglue/COPA/val.jsonl",
            [
                {
                    "premise": f"{text}.",
                    "choice1": "It is.",
                    "choice2": "The width.",
                    "question": "cause",
                    "label": n % 2,
                }
                for n, text in enumerate(PREMISES)
            ],
        ),
        ("nq_open/NQ-open.dev.jsonl", [{"question": text, "answer": [text, "x"]} for text in PREMISES]),
        ("humaneval/HumanEval.jsonl", [PROGRAM]),
        ("paloma/ptb/val.jsonl", [{"text": "def wrap(text):\n    return text\n" * 20}, {"text": "é"}]),
    ):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="module")
def model(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    return EvaluatedModel(trained(tiny_recipe, tmp_path_factory.mktemp("run")), None)


class Counting:
    """Hands requests to the engine, one at a time or all at once, and stops after a number of calls."""

    def __init__(self, model: EvaluatedModel, alone: bool = False, calls: int = 99) -> None:
        self.model, self.alone, self.calls, self.requests = model, alone, calls, 0

    def run(self, requests: Sequence[Request]) -> list[list[Result]]:
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        self.requests += len(requests)
        if self.alone:
            return [result for request in requests for result in self.model.engine.run([request])]
        return self.model.engine.run(requests)


@pytest.fixture(scope="module")
def evaluate(model: EvaluatedModel, data: Path) -> Callable[..., Evaluation]:
    def evaluate(out: Path, engine: Any = None, settings: Settings = SETTINGS, names: Sequence[str] = NAMES) -> Any:
        chosen, of = registry.choose(names, data), engine or model.engine
        return run(chosen, data, settings, model.identity, of, model.reader, out, lambda text: None)

    return evaluate


@pytest.fixture(scope="module")
def done(evaluate: Callable[..., Evaluation], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    out = tmp_path_factory.mktemp("done")
    return out, evaluate(out)


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


def test_another_evaluation_in_the_folder_is_refused(
    done: tuple[Path, Evaluation], evaluate: Callable[..., Evaluation]
) -> None:
    with pytest.raises(UserError, match=r"holds an evaluation with shots=1; expected 0, or another --out"):
        evaluate(done[0], settings=SETTINGS._replace(shots=0))


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
