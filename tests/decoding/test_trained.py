"""Tests a trained model loaded from a run directory."""

import argparse
import inspect
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding import trained
from palmetto.decoding.cached import DECODING
from palmetto.decoding.generate import generate
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.files import write_text
from palmetto.model import weights as parameters
from palmetto.model.layout import arrange
from palmetto.model.parameters import parameter_table
from palmetto.parallel.sharding import Spread
from palmetto.recipe import loading
from palmetto.recipe.model import Model
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import CheckpointDamaged, Manifest
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training import optimization
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.step.state import State
from tests.conftest import RecipeMaker
from tests.references import decoder as reference

TEXT = inspect.getsource(argparse)[:30_000]
VOCABULARY = 400


def drawn(step: int, vocabulary: int = VOCABULARY) -> parameters.Parameters:
    arrays = reference.draw(step, layers=2, d_model=32, heads=2, head_size=16, d_ff=128, vocabulary=vocabulary)
    return {name: jnp.asarray(array) for name, array in arrays.items()}


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the drawing of initial parameters, which takes seconds to compile; only their shapes matter here."""

    def zeros(model: Model, vocabulary_size: int, seed: int) -> parameters.Parameters:
        return {name: jnp.zeros(s.shape) for name, s in parameters.weight_table(model, vocabulary_size).items()}

    monkeypatch.setattr(parameters, "initialize", zeros)


@pytest.fixture
def run(tiny_recipe: RecipeMaker, tmp_path: Path) -> RunDirectory:
    """Returns a run with a vocabulary and no checkpoint."""
    run, recipe = RunDirectory(tmp_path), tiny_recipe(f"tokens.vocabulary_size={VOCABULARY}")
    write_text(run.recipe_file, loading.dump(recipe))
    Vocabulary.train([TEXT], VOCABULARY, "bpe").save(run.vocabulary)
    return run


def save(run: RunDirectory, *steps: int) -> None:
    table = parameter_table(run.recipe)
    checkpoints = Checkpoints(run.checkpoints, table)
    spreads = {name: Spread(of.stack) for name, of in table.items()}
    optimizer = optimization.make(run.recipe.training.optimizer, table, spreads)
    for step in steps:
        made = drawn(step, run.recipe.model_vocabulary)
        state = State(made, optimizer.init(made), None)
        checkpoints.save(state, step=step, attempt=0, recipe=run.recipe.digest, tokens="", chain="")
    checkpoints.wait()


def test_the_newest_or_the_requested_checkpoint_is_restored(run: RunDirectory) -> None:
    save(run, 10, 20)
    for asked, step in ((None, 20), (10, 10)):
        state, restored, checkpoints = trained.restore(run, asked)
        assert restored == step
        assert checkpoints.steps() == [10, 20]
        assert all(np.array_equal(state.parameters[name], array) for name, array in drawn(step).items())


def test_a_missing_checkpoint_is_refused_with_the_existing_ones(run: RunDirectory) -> None:
    with pytest.raises(UserError, match="no complete checkpoint yet"):
        trained.restore(run)
    save(run, 10, 20)
    with pytest.raises(UserError, match="--step 15: no such checkpoint; there are 10, 20"):
        trained.restore(run, 15)


def test_a_damaged_checkpoint_is_not_used(run: RunDirectory) -> None:
    save(run, 10)
    file = next(path for path in sorted(run.checkpoints.rglob("arrays/**/*")) if path.is_file() and path.stat().st_size)
    file.write_bytes(b"\0" + file.read_bytes()[1:])
    with pytest.raises(CheckpointDamaged, match=file.name):
        trained.restore(run)


def test_a_checkpoint_pruned_meanwhile_is_skipped(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in training prunes a checkpoint by deleting its manifest first."""
    save(run, 10, 20)
    read = Checkpoints.manifest

    def prune_and_read(checkpoints: Checkpoints, step: int) -> Manifest:
        if step == 20:
            checkpoints.delete(20)
        return read(checkpoints, step)

    monkeypatch.setattr(Checkpoints, "manifest", prune_and_read)
    assert trained.restore(run)[1] == 10
    save(run, 20)
    with pytest.raises(UserError, match="--step 20: no such checkpoint; there are 10"):
        trained.restore(run, 20)


def test_a_checkpoint_of_another_recipe_is_not_used(run: RunDirectory) -> None:
    save(run, 10)
    write_text(run.recipe_file, run.recipe_file.read_text().replace("heads: 2", "heads: 4"))
    with pytest.raises(UserError, match=r"recipe\.yaml: altered since checkpoint 10 was trained"):
        trained.restore(run)


def test_text_is_continued_as_the_beginning_of_a_document(run: RunDirectory) -> None:
    save(run, 11)
    model = trained.TrainedModel(run)
    vocabulary = Vocabulary.load(run.vocabulary)
    prompt = np.array([vocabulary.eod, *vocabulary.encode("def f(")], np.int32)
    arranged = arrange(drawn(11), run.recipe.model, DECODING)
    sampling = Sampling(1.0, top_k=20)
    tokens = generate(arranged, prompt, 9, run.recipe.model, vocabulary.ends, sampling, seed=4)
    other = np.concatenate([prompt[1:2], prompt[1:]])
    assert not np.array_equal(tokens, generate(arranged, other, 9, run.recipe.model, vocabulary.ends, sampling, seed=4))
    assert model.go_on("def f(", 9, sampling, seed=4) == vocabulary.decode(tokens)
    assert model.step == 11


def test_text_beyond_the_trained_length_is_reported(run: RunDirectory) -> None:
    save(run, 11)
    model, said = trained.TrainedModel(run), list[str]()
    prompt = len(Vocabulary.load(run.vocabulary).encode("def f(")) + 1
    model.go_on("def f(", 16 - prompt, Sampling(), say=said.append)
    assert not said
    model.go_on("def f(", 17 - prompt, Sampling(), say=said.append)
    warning = f"{prompt} tokens of prompt and {17 - prompt} more: beyond the 16 that the model was trained on; "
    assert said == [f"{warning}`palmetto long-context` shows how well it does there"]
