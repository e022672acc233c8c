"""Tests that the model card says what the run and its corpus say."""

import json
from pathlib import Path

from palmetto.interop import importing
from palmetto.interop.export import export
from palmetto.model.weights import count
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from tests.references import exported
from tests.references.report_runs import write_summary

SHEET = {
    "documents": 12,
    "bytes": 3456,
    "tokens": 1000,
    "sources": {"books": {"documents": 12, "bytes": 3456, "tokens": 1000}},
}


def test_the_card_tells_data_evaluation_and_digests(tmp_path: Path) -> None:
    recipe = exported.recipe({})
    text = recipe.corpus.model_copy(update={"source": str(tmp_path / "corpus")})
    run = exported.made(tmp_path / "run", recipe.model_copy(update={"corpus": text}))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "datasheet.json").write_text(json.dumps(SHEET))
    losses = ((0, 0, 6.5), (10, 0, 3.25), (10, 1, 9.0), (20, 0, 8.0))
    events = [{"event": "validation", "step": step, "attempt": each, "loss": loss} for step, each, loss in losses]
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    write_summary(run, recipe, 20)
    assert run.newest_manifest is not None
    scored = {"metric": "acc", "value": 62.5, "interval": [50.0, 75.0], "count": 48}
    for folder, parameters in ((run.evaluation, run.newest_manifest.parameters), (run.evaluations / "1", "another")):
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(json.dumps({"parameters": parameters, "weights": None}))
        (folder / "results.json").write_text(json.dumps({"tasks": {f"copa-{folder.name}": scored}}))
    export(run, "huggingface", tmp_path / "out", None, "float16")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: transformers" in card
    assert f"CohereForCausalLM in float16: {count(recipe.model, 400):,} parameters" in card
    assert "1 kWh, 0.475 kg CO2e, 2 h of 1 chip, measured by RAPL, PUE 1, 0.475 kg a kWh; counted to step 20." in card
    assert "| books | 12 | 3,456 | 1,000 |" in card
    assert "Validation loss 3.2500 nats a token on the run's held-out text, from 6.5000 at step 0." in card
    assert "| copa-evaluation | acc | 62.50 | 50.00 to 75.00 | 48 |" in card
    assert "copa-1" not in card, "it is of other parameters"
    assert run.newest_manifest.parameters in card
    assert str(tmp_path) not in card


def test_the_card_of_a_fine_tuned_run_names_its_base(tmp_path: Path) -> None:
    export(exported.finetuned(tmp_path), "huggingface", tmp_path / "out", None, "float32")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Fine-tuned from step 4 of base, parameters `tree:0`, with 1 further pieces in the vocabulary." in card
    assert "| chat.jsonl | 2 |" in card
    assert str(tmp_path) not in card


def test_the_card_of_an_imported_run_claims_no_training(tmp_path: Path) -> None:
    export(exported.made(tmp_path / "run", exported.recipe({})), "huggingface", tmp_path / "out", None, "float32")
    imported = RunDirectory(tmp_path / "again")
    importing.make(tmp_path / "out", imported)
    export(imported, "huggingface", tmp_path / "out2", None, "float32")
    card = (tmp_path / "out2" / "README.md").read_text()
    assert "A language model imported into Palmetto, exported as" in card
    assert "## Training\n\nPalmetto has not trained it.\n" in card
    assert "| tokens | none |" in card
    assert "optimizer" not in card


def test_the_sheet_of_a_corpus_in_the_run_is_found(tmp_path: Path) -> None:
    build = {"root": str(tmp_path), "sources": {"books": {"paths": ["*.txt"], "weight": 1}}}
    recipe = loading.validate(exported.recipe({}).model_dump() | {"corpus": {"build": build}})
    run = exported.made(tmp_path / "run", recipe)
    (run.path / "corpus").mkdir()
    (run.path / "corpus" / "datasheet.json").write_text(json.dumps(SHEET))
    export(run, "huggingface", tmp_path / "out", None, "float32")
    assert "| books | 12 | 3,456 | 1,000 |" in (tmp_path / "out" / "README.md").read_text()


def test_a_run_that_knows_little_says_so(tmp_path: Path) -> None:
    export(exported.made(tmp_path / "run", exported.recipe({})), "gguf", tmp_path / "out", None, "float32")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: llama.cpp" in card
    assert "The run has no datasheet of its text." in card
    assert "The run has not recorded what it used." in card
    assert "has not measured its validation loss at this step" in card
