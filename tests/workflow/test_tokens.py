"""Tokens of a run whose recipe builds a corpus."""

import inspect
from argparse import ArgumentParser
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.recipe import Recipe, loading
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.workflow import corpus as corpora
from palmetto.workflow.tokens import build_tokens

RECIPE = """
corpus: {build: {sources: {web: {paths: [gone]}}}, section_bytes: 2048, validation_share: 0.1}
tokens: {vocabulary_size: 400, sequence_length: 16}
model: {layers: 1, d_model: 16, heads: 2}
training: {steps: 1, batch_size: 4}
"""


def test_damaged_tokens_are_rebuilt_from_the_existing_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus is not rebuilt, because another version or missing sources would give another one, or none."""
    (tmp_path / "mix.yaml").write_text(RECIPE)
    recipe = loading.load(str(tmp_path / "mix.yaml"), [])
    builds: list[str] = []

    def build(recipe: Recipe, out: Path, say: object) -> None:
        builds.append(str(out))
        (out / "documents").mkdir(parents=True, exist_ok=True)
        (out / "documents" / "a.txt").write_text(inspect.getsource(ArgumentParser) + "another\n" * (len(builds) - 1))
        Vocabulary.train([inspect.getsource(ArgumentParser)], 400, "unigram").save(out / "vocabulary.model")
        (out / "manifest.json").write_text("{}")

    monkeypatch.setattr(corpora, "build", build)
    run = RunDirectory(tmp_path / "run")
    build_tokens(run, recipe, print)
    before = run.train_store.read_bytes()
    monkeypatch.setattr(RunDirectory, "begun", property(lambda self: True))
    run.train_store.write_bytes(before[:1000])
    build_tokens(run, recipe, print)
    assert run.train_store.read_bytes() == before
    assert len(builds) == 1
    # A folder without a manifest is no corpus, so the corpus is rebuilt.
    (run.path / "corpus" / "manifest.json").unlink()
    run.train_store.write_bytes(before[:1000])
    with pytest.raises(UserError, match="other text"):
        build_tokens(run, recipe, print)
    assert len(builds) == 2
