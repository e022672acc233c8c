"""Tests that an imported run with a foreign tokenizer generates, is evaluated, served and exported like any other."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from palmetto.decoding.continuing import Continuing, Wish
from palmetto.decoding.drafting import Drafting
from palmetto.decoding.limits import Limits
from palmetto.decoding.sampling import Sampling
from palmetto.decoding.trained import TrainedModel
from palmetto.errors import UserError
from palmetto.evaluation import registry
from palmetto.evaluation.evaluating import run as evaluate
from palmetto.evaluation.model import EvaluatedModel
from palmetto.evaluation.queries import Manner, of_prompt, requests
from palmetto.evaluation.settings import Settings
from palmetto.interop import importing
from palmetto.interop.export import export
from palmetto.interop.folder import MARK
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.store import TokenStore
from palmetto.tokens.wrapped import WrappedVocabulary
from palmetto.training import condition
from palmetto.training.origin import load_vocabulary
from palmetto.workflow import finetuning
from tests.references import exported, foreign
from tests.references.command_runs import command

pytest.importorskip("tokenizers", reason="needs the extra interop")
TEMPLATE = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
ENDS = [1, 350, 351]
TEMPLATES = [{"name": "tool_use", "template": "{{ tools }}"}, {"name": "default", "template": TEMPLATE}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a tokenizer of GPT-2's kind and a template of chats, as other programs make it.

    Its model ends answers with three tokens, of which each configuration names two.
    """
    made = tmp_path_factory.mktemp("foreign")
    export(exported.made(made / "run", exported.of_kind("Llama")), "huggingface", made / "out", None, "float32")
    (made / "out" / MARK).unlink()
    shutil.rmtree(made / "out" / "palmetto")
    (made / "out" / "tokenizer.json").write_text(json.dumps(foreign.turning(foreign.byte_level())))
    (made / "out" / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATES}))
    config = json.loads((made / "out" / "config.json").read_text())
    ends = {"bos_token_id": 0, "eos_token_id": ENDS[:2]}
    (made / "out" / "config.json").write_text(json.dumps(config | ends))
    (made / "out" / "generation_config.json").write_text(json.dumps({"eos_token_id": [ENDS[2], ENDS[0]]}))
    return made / "out"


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    imported = RunDirectory(tmp_path_factory.mktemp("imported") / "run")
    importing.make(folder, imported)
    return imported


def test_an_imported_run_generates_text(run: RunDirectory) -> None:
    model = TrainedModel(run)
    assert isinstance(model.vocabulary, WrappedVocabulary)
    assert (model.vocabulary.beginning, model.vocabulary.eod, model.vocabulary.ends) == (0, 1, tuple(ENDS))
    assert model.prompt("a tree")[0].tolist() == [0, *model.vocabulary.encode("a tree")]
    assert isinstance(model.go_on("a tree", 4, Sampling()), str)
    assert run.recipe.tokens.chat_template == TEMPLATE


@pytest.mark.parametrize("end", ENDS)
def test_each_end_of_answers_ends_an_answer(end: int, run: RunDirectory) -> None:
    """Guesses of a draft change nothing."""
    model, tree = TrainedModel(run), 90
    for drafting in (Drafting(), Drafting(lookup=True)):
        continuing = Continuing(model, lambda text: None, drafting)
        [[answer]] = continuing.run(["a tree a tree a"], Wish(6, Sampling(forced=(tree, end, tree))))
        assert [token.id for token in answer.tokens] == [tree, end]
        assert (answer.text, answer.finish) == (model.vocabulary.decode([tree]), "stop")
    assert model.go_on("a", 6, Sampling(forced=(tree, end, tree))) == answer.text
    reader = EvaluatedModel(run, None).reader
    for beams in (0, 2):
        asked = requests(Manner((), Sampling(), beams), model.vocabulary)(of_prompt("", "a", 4, reader))
        assert asked.stop == set(ENDS)


def test_an_imported_run_is_evaluated(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "data" / "nq_open").mkdir(parents=True)
    questions = "".join(json.dumps({"question": text, "answer": ["palm"]}) + "\n" for text in ("tree", "spine"))
    (tmp_path / "data" / "nq_open" / "NQ-open.dev.jsonl").write_text(questions)
    model, chosen = EvaluatedModel(run, None), registry.choose(["nq_open"], tmp_path / "data")
    done = evaluate(
        chosen,
        tmp_path / "data",
        Settings(shots=0, seed=0, limit=None),
        model.identity,
        model.engine,
        model.reader,
        tmp_path / "out",
        lambda text: None,
    )
    assert len(done.evaluated["nq_open"][1]) == 2


def test_an_imported_run_is_exported_with_its_tokenizer(run: RunDirectory, folder: Path, tmp_path: Path) -> None:
    export(run, "huggingface", tmp_path / "out", None, "float32")
    for name in ("tokenizer.json", "config.json"):
        there, again = (json.loads((each / name).read_text()) for each in (folder, tmp_path / "out"))
        assert again == there | {"eos_token_id": ENDS} if name == "config.json" else again == there
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"] == ENDS
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert (settings["bos_token"], settings["eos_token"]) == (foreign.BEGINNING, foreign.END)
    for ours in (True, False):
        if not ours:  # as if transformers had written it
            (tmp_path / "out" / MARK).unlink()
        again = RunDirectory(tmp_path / f"again-{ours}")
        importing.make(tmp_path / "out", again)
        assert again.recipe.model == run.recipe.model
        assert again.vocabulary.read_bytes() == run.vocabulary.read_bytes()


def test_what_an_imported_run_lacks_is_said(run: RunDirectory, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"was imported, and has no tokens to train on; `palmetto finetune .* --data"):
        condition.check(run, run.recipe)
    (source := tmp_path / "source").mkdir()
    for file in folder.iterdir():
        if file.name != "tokenizer.json":
            (source / file.name).symlink_to(file)
    mute = RunDirectory(tmp_path / "mute")
    assert isinstance(importing.make(source, mute), str)
    for use in (load_vocabulary, lambda base: finetuning.begin(base, None, "continued", [])):
        with pytest.raises(UserError, match=r"mute/vocabulary\.model: no such file; the import had no tokenizer"):
            use(mute)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "message"), [("long-context", "expected --text FILE"), ("memorization", "nobody")])
def test_text_that_an_imported_run_lacks_is_asked_for(command: str, message: str, run: RunDirectory) -> None:
    asked = [sys.executable, "-m", "palmetto", command, str(run.path)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, env=exported.outside())
    assert done.returncode == 2
    assert f"{run.path}: was imported" in done.stderr
    assert message in done.stderr


@pytest.mark.slow
def test_an_imported_run_is_served(run: RunDirectory) -> None:
    pytest.importorskip("starlette", reason="needs the extra serve")
    from starlette.testclient import TestClient

    from palmetto.serving.app import application
    from palmetto.serving.server import load
    from palmetto.serving.settings import Settings as Serving

    server = load({"imported": run}, Limits(rows=4, sequences=4, longest=32), Serving())
    try:
        client = TestClient(application(server))
        info = client.get("/tokenizer_info").json()
        assert (info["bos_token"], info["eos_token_id"]) == (foreign.BEGINNING, 1)
        asked = {"model": "imported", "messages": [{"role": "user", "content": "tree"}], "max_tokens": 3}
        answered = client.post("/v1/chat/completions", json=asked)
        assert answered.status_code == 200, answered.text
        assert answered.json()["usage"]["completion_tokens"] >= 1
    finally:
        server.models["imported"].current.worker.close()


@pytest.mark.slow
def test_commands_on_an_imported_run_say_little(folder: Path, tmp_path: Path) -> None:
    """The environment is recorded, so that nothing of it is said to be missing."""

    def palmetto(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "palmetto", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=exported.outside())

    made = palmetto("import", folder, "--run", tmp_path / "run", "--json")
    said = f"{folder}: its tokenizer puts nothing in front of a text; here it is {foreign.BEGINNING}\n"
    assert (made.returncode, made.stderr) == (0, said)
    generated = palmetto("generate", tmp_path / "run", "--prompt", "a tree", "--tokens", 3)
    assert (generated.returncode, generated.stderr) == (0, "")


@pytest.mark.slow
def test_an_imported_run_is_trained_further(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for n in range(40):
        (tmp_path / "text" / f"{n}.txt").write_text(f"The palm tree {n} has a spine.\n" * 9)
    settings = {"steps": 2, "batch_size": 4, "micro_batch": 2, "schedule.warmup": 0, "schedule.cooldown": "null"}
    overrides = [
        "training.objective={name: causal}",
        f"corpus.source={tmp_path / 'text'}",
        "corpus.validation_share=0.3",
    ]
    overrides += [f"training.{key}={value}" for key, value in settings.items()]
    assert command("finetune", run.path, "--recipe", "continued", "--run", tmp_path / "on", *overrides) == 0
    tuned = RunDirectory(tmp_path / "on")
    assert tuned.ledger_lines == 2
    assert tuned.vocabulary.read_bytes() == run.vocabulary.read_bytes()
    assert run.newest_manifest is not None
    assert tuned.newest_manifest is not None
    assert tuned.newest_manifest.parameters != run.newest_manifest.parameters
    store = TokenStore.open(tuned.train_store)
    ids = store.read(np.arange(store.windows))[:, :-1].ravel().tolist()
    assert [ids[place + 1] for place, id in enumerate(ids[:-1]) if id == 1] == [0] * ids[:-1].count(1)
    assert command("long-context", tuned.path, "--times", 2) == 0
    (tmp_path / "held-out.txt").write_text("Another palm tree has another spine.\n" * 40)
    read = ("--times", 2, "--text", tmp_path / "held-out.txt", "--out", tmp_path)
    assert command("long-context", run.path, *read, "--tuned", tuned.path) == 0
    names = [way["name"] for way in json.loads((tmp_path / "long-context.json").read_text())["ways"]]
    assert names[0] == "as trained"
    assert names[-1] == "on"
    with pytest.raises(UserError, match=r"--text .*gone: cannot be read"):
        command("long-context", run.path, "--text", tmp_path / "gone")
