"""Tests exports as folders: whole or absent, the same bytes each time, and runs again when they are imported."""

import json
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palmetto.decoding.sampling import Sampling
from palmetto.decoding.trained import TrainedModel, restore
from palmetto.errors import UserError
from palmetto.interop import importing, safetensors
from palmetto.interop.export import export
from palmetto.interop.folder import MARK
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training.checkpoint import Checkpoints
from tests.references import exported
from tests.references.exported import KINDS, SERIAL


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Returns a run of PaLM's shape."""
    return exported.made(tmp_path_factory.mktemp("run"), exported.recipe({}))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_run_gives_the_same_bytes(run: RunDirectory, tmp_path: Path) -> None:
    first = export(run, "huggingface", tmp_path / "a", 10, "bfloat16")
    again = export(run, "huggingface", tmp_path / "b", 10, "bfloat16")
    assert first == again
    assert first.files == sorted(contents(tmp_path / "a"))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert str(run.path).encode() not in b"".join(contents(tmp_path / "a").values())


def test_fine_tuned_runs_of_two_places_give_the_same_bytes(tmp_path: Path) -> None:
    for place in ("a", "b"):
        export(exported.finetuned(tmp_path / place), "huggingface", tmp_path / place / "out", None, "float32")
    assert contents(tmp_path / "a" / "out") == contents(tmp_path / "b" / "out")
    assert str(tmp_path).encode() not in b"".join(contents(tmp_path / "a" / "out").values())
    imported = RunDirectory(tmp_path / "again")
    importing.make(tmp_path / "a" / "out", imported)
    assert imported.recipe.digest == RunDirectory(tmp_path / "a" / "run").recipe.digest


def test_an_export_replaces_an_export_alone(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(run, "huggingface", out, 10, "float32")
    export(run, "safetensors", out, None, "float32")
    assert json.loads((out / MARK).read_text())["step"] == 10
    assert not (out / "config.json").exists()
    before = contents(out)
    (out / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"not an export's.*README\.md has been altered"):
        export(run, "safetensors", out, 10, "float32")
    assert contents(out) == before | {"README.md": b"mine"}
    (out / MARK).unlink()
    with pytest.raises(UserError, match="expected an empty folder"):
        export(run, "safetensors", out, 10, "float32")


@pytest.mark.parametrize("what", ["folder", "link", "pipe"])
def test_whatever_was_added_to_an_export_is_kept(what: str, run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(run, "safetensors", out, 10, "float32")
    {"folder": Path.mkdir, "link": lambda path: path.symlink_to("/"), "pipe": os.mkfifo}[what](out / "mine")
    with pytest.raises(UserError, match=r"not an export's.*\(mine has been added"):
        export(run, "safetensors", out, 10, "float32")
    assert (out / "mine").is_symlink() or (out / "mine").exists()


def test_what_appears_during_an_export_is_kept(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes").write_text("mine")

    monkeypatch.setattr(safetensors, "write", write)
    with pytest.raises(UserError, match="holds files that are not an export's"):
        export(run, "safetensors", tmp_path / "out", 10, "float32")
    assert contents(tmp_path) == {"out/notes": b"mine"}


def test_an_export_through_a_link_replaces_what_it_points_to(run: RunDirectory, tmp_path: Path) -> None:
    export(run, "huggingface", tmp_path / "disk" / "out", 10, "float32")
    (tmp_path / "link").symlink_to("disk/out")
    export(run, "safetensors", tmp_path / "link", 10, "float32")
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "disk" / "out" / MARK).read_text())["target"] == "safetensors"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_exports_of_another_format_are_not_read(run: RunDirectory, tmp_path: Path) -> None:
    export(run, "safetensors", tmp_path / "out", 10, "float32")
    marked = json.loads((tmp_path / "out" / MARK).read_text())
    (tmp_path / "out" / MARK).write_text(json.dumps(marked | {"format": 99}))
    with pytest.raises(UserError, match=r"palmetto\.json: format=99: expected 1, which this version writes"):
        importing.make(tmp_path / "out", RunDirectory(tmp_path / "again"))
    with pytest.raises(UserError, match="within the checkpoints of"):
        export(run, "safetensors", run.checkpoints / "out", 10, "float32")


def test_an_import_into_an_empty_directory_keeps_it(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a mount point, or the current one."""
    export(run, "safetensors", tmp_path / "out", 10, "float32")
    (tmp_path / "again").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path / "again")
    with pytest.raises(UserError, match=r"--out \.: the current folder, or a mount point"):
        export(run, "safetensors", Path(), 10, "float32")
    before = (tmp_path / "again").stat()
    importing.make(tmp_path / "out", RunDirectory(Path()))
    after = (tmp_path / "again").stat()
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    assert parameters(RunDirectory(tmp_path / "again")) == parameters(run)
    assert not list((tmp_path / "again").glob(".import-*"))


def test_a_failed_import_leaves_nothing(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(run, "safetensors", tmp_path / "out", 10, "float32")
    before = contents(tmp_path)
    monkeypatch.setattr(importing, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        importing.make(tmp_path / "out", RunDirectory(tmp_path / "again"))
    assert contents(tmp_path) == before

    def overtaken(*_: object) -> None:
        (tmp_path / "again").mkdir()
        (tmp_path / "again" / "recipe.yaml").write_text("theirs")

    monkeypatch.setattr(importing, "write_json", overtaken)
    with pytest.raises(UserError, match=r"--run .*: not empty; expected a new or an empty directory"):
        importing.make(tmp_path / "out", RunDirectory(tmp_path / "again"))
    assert contents(tmp_path / "again") == {"recipe.yaml": b"theirs"}


def test_a_failure_leaves_the_folder_as_it_was(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(run, "safetensors", tmp_path / "out", 10, "float32")
    before = contents(tmp_path)
    monkeypatch.setattr(safetensors, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(run, "safetensors", tmp_path / "out", 10, "float32")
    assert contents(tmp_path) == before


def test_a_scale_that_a_class_rounds_comes_back_exactly(tmp_path: Path) -> None:
    """The norm of a tied Llama of width 32 is divided by √32."""
    run, imported = exported.made(tmp_path / "run", exported.recipe(SERIAL)), RunDirectory(tmp_path / "again")
    export(run, "huggingface", tmp_path / "out", None, "float32")
    importing.make(tmp_path / "out", imported)
    assert parameters(imported) == parameters(run)


@pytest.mark.parametrize("target", ["huggingface", "safetensors"])
def test_an_imported_export_is_the_run_again(target: str, run: RunDirectory, tmp_path: Path) -> None:
    export(run, target, tmp_path / "out", 10, "float32")
    imported = RunDirectory(tmp_path / "again")
    vocabulary = importing.make(tmp_path / "out", imported)
    assert isinstance(vocabulary, Vocabulary)
    assert vocabulary.digest == exported.vocabulary().digest
    assert imported.recipe == run.recipe
    assert parameters(imported) == parameters(run)
    texts = [TrainedModel(each).go_on("def ", 6, Sampling()) for each in (imported, run)]
    assert texts[0] == texts[1]
    export(imported, target, tmp_path / "out2", None, "float32")
    there, again = contents(tmp_path / "out"), contents(tmp_path / "out2")
    assert {name for name in there if there[name] != again[name]} == {MARK, "README.md"}  # which name the step


def test_weights_that_are_not_finite_are_not_imported(tmp_path: Path) -> None:
    broken = exported.made(
        tmp_path / "run",
        exported.recipe({}),
        place=lambda drawn: drawn | {"final_norm": drawn["final_norm"].at[0].set(np.nan)},
    )
    export(broken, "huggingface", tmp_path / "out", None, "float32")
    (tmp_path / "out" / MARK).unlink()
    with pytest.raises(UserError, match=r"out: model\.norm\.weight: holds values that are not finite"):
        importing.make(tmp_path / "out", RunDirectory(tmp_path / "again"))


def parameters(run: RunDirectory) -> str:
    state, _, checkpoints = restore(run)
    return checkpoints.digests(state)[0]


@pytest.mark.slow
def test_a_stock_folder_becomes_a_run(tmp_path: Path) -> None:
    """The folder is an export without what only ours have."""
    for kind in ("PaLM", "Llama", "Mixtral"):
        run, folder = exported.made(tmp_path / kind, exported.recipe(KINDS[kind][1])), tmp_path / f"{kind}-out"
        export(run, "huggingface", folder, None, "float32")
        tensors = (folder / "model.safetensors").read_bytes()
        (folder / MARK).unlink()
        shutil.rmtree(folder / "palmetto")
        shutil.copy(run.vocabulary, folder / "tokenizer.model")
        imported = RunDirectory(tmp_path / f"{kind}-again")
        importing.make(folder, imported)
        assert parameters(imported) == parameters(run)
        export(imported, "huggingface", tmp_path / f"{kind}-out2", None, "float32")
        assert (tmp_path / f"{kind}-out2" / "model.safetensors").read_bytes() == tensors


def test_what_a_recipe_cannot_express_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(run, "huggingface", folder, None, "float32")
    (folder / MARK).unlink()
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"architectures": ["OPTForCausalLM"]}, "architectures=OPTForCausalLM: expected one of CohereForCausalLM"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps=1e-06: expected 1e-05"),
        ({"logit_scale": 0.0625}, "logit_scale=0.0625: expected 0.17677"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type=yarn: expected default or linear"),
        ({"hidden_act": "relu"}, "hidden_act=relu: expected silu or gelu or sigmoid"),
        ({"attention_bias": True}, "attention_bias=true: expected false"),
        ({"num_hidden_layers": 1}, "a tensor for which the model has no place"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=message):
            importing.make(folder, RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_altered_export_is_not_imported(run: RunDirectory, tmp_path: Path) -> None:
    export(run, "safetensors", tmp_path / "out", None, "float32")
    file = tmp_path / "out" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"altered since it was exported.*model\.safetensors"):
        importing.make(tmp_path / "out", RunDirectory(tmp_path / "run"))
    with pytest.raises(UserError, match="not empty; expected a new or an empty directory"):
        importing.make(tmp_path / "out", run)


def test_recipes_without_an_exact_class_are_refused(tmp_path: Path) -> None:
    spans = exported.recipe({"positions": {"name": "t5", "bidirectional": True}}, objective={"name": "spans"})
    run = exported.made(tmp_path / "spans", spans)
    with pytest.raises(UserError, match=r"training.objective.name=spans \(expected causal or "):
        export(run, "ctranslate2", tmp_path / "out", None, "float32")
    unigram = exported.made(tmp_path / "unigram", exported.recipe({}, "unigram"))
    with pytest.raises(UserError, match=r"tokens.vocabulary=unigram \(expected bpe\)"):
        export(unigram, "gguf", tmp_path / "out", None, "float32")
    with pytest.raises(UserError, match="--dtype int8: expected float32 or bfloat16 or float16 for gguf"):
        export(run, "gguf", tmp_path / "out", None, "int8")
    with pytest.raises(UserError, match="--step 7: no such checkpoint; there are 10"):
        export(run, "safetensors", tmp_path / "out", 7, "float32")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["huggingface", "safetensors", "gguf", "ctranslate2"])
def test_one_tensor_is_in_memory_at_a_time(
    target: str, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor may hold q, k and v; what it was made from is gone when the next one is read."""
    read, alive = Checkpoints.matrix, list[weakref.ref[Any]]()

    def counted(checkpoints: Checkpoints, step: int, name: str) -> Any:
        matrix = read(checkpoints, step, name)
        alive.append(weakref.ref(matrix))
        assert sum(each() is not None for each in alive) <= (3 if target == "ctranslate2" else 1), name
        return matrix

    monkeypatch.setattr(Checkpoints, "matrix", counted)
    export(run, target, tmp_path / "out", None, "bfloat16")
    assert len(alive) == 2 + 2 * 8


@pytest.mark.slow
def test_the_commands_say_what_was_not_compared(run: RunDirectory, tmp_path: Path) -> None:
    def palmetto(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "palmetto", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=exported.outside())

    out, again = tmp_path / "out", tmp_path / "again"
    done = palmetto("export", run.path, "--to", "huggingface", "--out", out, "--check", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["target"] == "huggingface"
    assert answer["files"] == sorted(contents(out))
    assert answer["checked"] == {"logits": None, "greedy": None, "ids": None}
    assert "were not compared: give --peer-environment DIR" in done.stderr
    imported = palmetto("import", out, "--run", again, "--json")
    assert json.loads(imported.stdout)["parameters"] == parameters(run)
    assert json.loads(palmetto("digest", again, "--json").stdout)["parameters"] == parameters(run)
    refused = palmetto("import", out, "--run", again)
    assert refused.returncode == 2
    assert "expected a new or an empty directory" in refused.stderr
