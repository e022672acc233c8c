"""Tests lm-eval's interface to our models against our own harness, and against lm-eval's own model of an export."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palmetto.decoding.request import GREEDY
from palmetto.evaluation import evaluating, registry
from palmetto.evaluation.harness import answer_of, run_all
from palmetto.evaluation.judging import total
from palmetto.evaluation.model import EvaluatedModel
from palmetto.evaluation.queries import Manner, Query, of_options, of_prompt, of_text, requests
from palmetto.evaluation.settings import Settings
from palmetto.evaluation.tasks.task import Option
from palmetto.evaluation.until import up_to_stop
from palmetto.files import write_text
from palmetto.interop.export import export
from palmetto.runs.directory import RunDirectory
from tests.conftest import RecipeMaker
from tests.evaluation.models import trained

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-lmeval" / "bin" / "python"
PAIRS = [
    ("def wrap(text):", " return text"),
    ("def wrap(text):", " pass"),
    ("a line of text  ", "and é"),  # the spaces go to the continuation
    ("", "def wrap"),
    ("Wr", "ap the paragraph"),  # a token spans the join
    ("x", "é" * 3),
    ("the text of a paragraph " * 30, "is long"),
]
PROMPTS: list[tuple[str, dict[str, Any]]] = [
    ("def wrap(text):", {"until": ["\n"], "max_gen_toks": 8}),
    ("a line of text ", {"until": ["\n", "de"], "max_gen_toks": 12}),
    ("white space", {"until": [], "max_gen_toks": 5, "num_beams": 3}),
    ("the paragraph", {"until": "e", "max_gen_toks": 9, "do_sample": False}),
]
SAMPLED = ("def", {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0, "top_k": 40})
TEXTS = [["def wrap(text):\n    return text\n" * 20], ["é"]]
RECORDS = [{"question": text, "options": ["It is.", "def", "a width"], "label": 1} for text in ("the text", "a line")]
TASK = """
task: own
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: options
doc_to_target: label
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
DESCRIPTION = """
name: own
file: own.jsonl
context: "Question: {question}\\nAnswer:"
options: options
gold: label
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(), reason=f"no lm-eval at {PYTHON.parent}; benchmarks/cross_check.py makes it"
    ),
]


@pytest.fixture(scope="module")
def run(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(tiny_recipe, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def model(run: RunDirectory) -> EvaluatedModel:
    return EvaluatedModel(run, None)


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs lm-eval's Python without a network."""
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT / "src"),
    }
    command = [str(PYTHON), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    def ask(name: str, folder: Path, **question: Any) -> Any:
        files = [tmp_path_factory.mktemp("asked") / name for name in ("question.json", "answer.json")]
        files[0].write_text(json.dumps(question))
        done = call(ROOT / "benchmarks" / "peers" / "lm_eval_answers.py", name, folder, *files, 3)
        assert not done.returncode, done.stderr
        return {kind: found["answers"] for kind, found in json.loads(files[1].read_text()).items()}

    return ask


@pytest.fixture(scope="module")
def answers(run: RunDirectory, ask: Callable[..., Any]) -> Any:
    return ask("palmetto", run.path, pairs=PAIRS, prompts=[*PROMPTS, *[SAMPLED] * 3], texts=TEXTS)


@pytest.fixture(scope="module")
def exported(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "hf"
    export(run, "huggingface", folder, None, "float32", None)
    return folder


@pytest.fixture(scope="module")
def peer(exported: Path, ask: Callable[..., Any]) -> Any:
    return ask("hf", exported, pairs=PAIRS, prompts=PROMPTS)


def ours(model: EvaluatedModel, queries: list[Query], stops: tuple[str, ...] = (), beams: int = 0) -> list[Any]:
    """Returns what an evaluation of our own makes of queries: log-likelihoods, or the text of an answer."""
    vocabulary = model.reader.vocabulary
    results = run_all(queries, requests(Manner(stops, GREEDY, beams), vocabulary), model.engine)
    given = [answer_of(query, result, model.reader) for query, result in zip(queries, results, strict=True)]
    return [
        answer.text if query.tokens else total(answer.logprobs) for query, answer in zip(queries, given, strict=True)
    ]


def test_likelihoods_have_the_bits_of_our_harness(model: EvaluatedModel, answers: Any) -> None:
    for pair, (likelihood, _) in zip(PAIRS, answers["pairs"], strict=True):
        queries = of_options("", [Option(*pair)], model.reader)
        assert ours(model, queries) == [likelihood], pair
    assert queries[0].truncated
    for [text], likelihood in zip(TEXTS, answers["texts"], strict=True):
        assert sum(ours(model, of_text(text, model.reader))) == likelihood


def test_answers_are_those_of_our_harness(model: EvaluatedModel, answers: Any) -> None:
    for (context, settings), answer in zip(PROMPTS, answers["prompts"], strict=False):
        until = settings["until"]
        stops = (until,) if isinstance(until, str) else tuple(until)
        query = of_prompt("", context, settings["max_gen_toks"], model.reader)
        [text] = ours(model, [query], stops, settings.get("num_beams", 0))
        assert up_to_stop(text, stops) == answer


def test_samples_of_equal_requests_differ(run: RunDirectory, ask: Callable[..., Any], answers: Any) -> None:
    sampled = answers["prompts"][len(PROMPTS) :]
    assert len(set(sampled)) == 3
    assert ask("palmetto", run.path, prompts=[SAMPLED] * 3)["prompts"] == sampled


def test_the_greedy_continuation_is_told(run: RunDirectory, answers: Any, ask: Callable[..., Any]) -> None:
    context = PROMPTS[0][0]
    greedy = answers["prompts"][0]
    found = ask("palmetto", run.path, pairs=[(context, greedy), (context, " zz")])["pairs"]
    assert [is_greedy for _, is_greedy in found] == [True, False]


def test_an_export_has_the_same_likelihoods_in_lm_eval(model: EvaluatedModel, answers: Any, peer: Any) -> None:
    for pair, (likelihood, greedy), (theirs, is_greedy) in zip(PAIRS, answers["pairs"], peer["pairs"], strict=True):
        [query] = of_options("", [Option(*pair)], model.reader)
        # lm-eval's model also cuts [eod], and where a token spans the join it sees ids that the joined text lacks.
        if not (query.truncated or query.spans):
            assert (likelihood, greedy) == (pytest.approx(theirs, abs=1e-3), is_greedy)
    for (context, settings), answer, theirs in zip(PROMPTS, answers["prompts"], peer["prompts"], strict=False):
        if not (context.endswith(" ") or "num_beams" in settings):  # those are other requests there
            assert answer == theirs


def test_lm_evals_own_command_scores_as_ours(run: RunDirectory, tmp_path: Path) -> None:
    """One multiple choice as lm-eval's task and as ours, each by its command, in lm-eval's environment."""
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "own.yaml").write_text(TASK.replace("FILE", str(tmp_path / "own.jsonl")))
    (tmp_path / "description.yaml").write_text(DESCRIPTION)
    shown = ("--tasks", "own", "--include_path", tmp_path / "tasks", "--log_samples", "--output_path", tmp_path / "out")
    for arguments in (
        ("lm-eval", run.path, *shown),
        ("eval", run.path, "--tasks", tmp_path / "description.yaml", "--data", tmp_path, "--out", tmp_path / "ours"),
    ):
        done = call("-m", "palmetto", *arguments)
        assert not done.returncode, done.stderr
    [samples] = (tmp_path / "out").rglob("samples_own_*.jsonl")
    theirs = [float(answer[0][0]) for line in samples.read_text().splitlines() for answer in json.loads(line)["resps"]]
    ledger = [json.loads(line) for line in (tmp_path / "ours" / "ledger.jsonl").read_text().splitlines()]
    conditional = [line for line in ledger if not line["unconditional"]]
    assert [total(list(map(float.fromhex, line["logprobs"]))) for line in conditional] == theirs
    [results] = (tmp_path / "out").rglob("results_*.json")
    scores = json.loads((tmp_path / "ours" / "results.json").read_text())["tasks"]["own"]["metrics"]
    found = json.loads(results.read_text())["results"]["own"]
    assert [100 * found["acc,none"], 100 * found["acc_norm,none"]] == [scores["raw"], scores["character"]]


def test_lm_evals_own_tasks_and_model_decide_as_ours(model: EvaluatedModel, exported: Path, tmp_path: Path) -> None:
    premises = ("The text wraps.", "A line is white.", "The width is long.", "It returns.")
    records = [
        {"premise": text, "choice1": "It is def.", "choice2": "The paragraph.", "question": question, "label": n % 2}
        for n, (text, question) in enumerate(zip(premises, ("cause", "effect") * 2, strict=True))
    ]
    file = tmp_path / "superglue" / "COPA" / "val.jsonl"
    write_text(file, "".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "sets.json").write_text(json.dumps({"copa": str(file)}))
    script = ROOT / "benchmarks" / "peers" / "lm_eval_tasks.py"
    done = call(script, exported, tmp_path / "sets.json", tmp_path / "results.json")
    assert not done.returncode, done.stderr
    theirs = json.loads((tmp_path / "results.json").read_text())["copa"]["right"]
    chosen = registry.choose(["copa"], tmp_path)
    settings = Settings(shots=0, seed=0, limit=None)
    ours = evaluating.run(
        chosen, tmp_path, settings, model.identity, model.engine, model.reader, tmp_path / "out", lambda text: None
    )
    assert [outcome.scores["raw"] for outcome in ours.evaluated["copa"][1]] == theirs


def test_settings_that_the_engine_lacks_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    question = tmp_path / "question.json"
    question.write_text(json.dumps({"prompts": [("def", {"until": [], "temprature": 1.0})]}))
    script = ROOT / "benchmarks" / "peers" / "lm_eval_answers.py"
    done = call(script, "palmetto", run.path, question, tmp_path / "answer.json")
    assert "generation_kwargs: no temprature (did you mean 'temperature'?)" in done.stderr
