"""Makes run directories of drawn weights, which decode without having been trained."""

from pathlib import Path

from palmetto.files import write_text
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.vocabulary import Vocabulary
from tests.conftest import RecipeMaker
from tests.decoding.test_trained import TEXT, VOCABULARY, save


def make_run(path: Path, tiny_recipe: RecipeMaker, *overrides: str) -> RunDirectory:
    """Returns a run with a vocabulary and a checkpoint of drawn weights, at step 10."""
    path.mkdir()
    run = RunDirectory(path)
    write_text(run.recipe_file, loading.dump(tiny_recipe(f"tokens.vocabulary_size={VOCABULARY}", *overrides)))
    Vocabulary.train([TEXT], VOCABULARY, "bpe").save(run.vocabulary)
    save(run, 10)
    return run
