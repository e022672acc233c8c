"""Settings that make no sense are refused when a run begins, and only then."""

from pathlib import Path

import pytest

from palmetto.cli import runs
from palmetto.errors import UserError
from palmetto.files import write_text
from palmetto.recipe import loading, sense
from palmetto.runs.directory import RunDirectory
from palmetto.sweeps import plan as sweep
from tests.conftest import RecipeMaker

BUILD = "corpus.build={sources: {web: {paths: [a]}}"
NONSENSE = {
    "training.schedule={name: cosine, warmup: 9}": ["training.schedule.warmup=9", "training.steps=8"],
    "training.schedule={name: constant, warmup: 9}": ["training.schedule.warmup=9", "training.steps=8"],
    "training.schedule={name: constant, warmup: 5, cooldown: {share: 0.5}}": [
        *("training.schedule.cooldown.share=0.5", "after step 4", "training.schedule.warmup=5", "0.37 would do"),
    ],
    "training.schedule={name: constant, warmup: 8, cooldown: {}}": ["cooldown.share=0.2", "a shorter warm-up"],
    "training.schedule={name: cosine, warmup: 8}": ["training.schedule.warmup=8", "before it has risen"],
    "training.schedule={name: cosine, warmup: 5, decay_steps: 4}": ["training.schedule.decay_steps=4", "warmup=5"],
    "training.threads=3000": ["training.threads=3000", "at most 1024"],
    "corpus.validation_share=0.999999": ["corpus.validation_share=0.999999", "at most 0.5"],
    "corpus.section_bytes=1": ["corpus.section_bytes=1", "at least 64"],
    f"{BUILD}, filters: {{minimum_words: 9, maximum_words: 8}}}}": ["filters.minimum_words=9", "maximum_words=8"],
    f"{BUILD}, duplicates: {{near: 0}}}}": ["corpus.build.duplicates.near=0", "null keeps them all, and 0.8 is usual"],
    f"{BUILD}, duplicates: {{code: 0.0}}}}": ["corpus.build.duplicates.code=0.0", "0.9 is usual"],
}


@pytest.mark.parametrize(("override", "words"), NONSENSE.items())
def test_nonsense_is_refused_with_a_usual_value(tiny_recipe: RecipeMaker, override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        sense.check(tiny_recipe(override))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", loading.names())
def test_every_shipped_recipe_makes_sense(name: str) -> None:
    recipe = loading.load(name)
    sense.check(recipe)
    sense.check_name(recipe.name, "--run")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[(name, "is a path") for name in ("a/b", "../../runs", "/etc", ".", "..")],
        *[("", "is empty"), ("x" * 300, "more than 200 bytes"), ("a\nb", "no text"), ("\0", "no text")],
        ("\ud83d", "no text"),
    ],
)
def test_a_name_that_is_no_folder_name_is_refused(name: str, wrong: str) -> None:
    with pytest.raises(UserError, match=rf"^name=.*{wrong}.*a directory with --out"):
        sense.check_name(name, "--out")


@pytest.mark.parametrize("name", ["palm-1m", "Über mich, v2: a=b", "09", "..."])
def test_any_other_name_is_accepted(name: str) -> None:
    sense.check_name(name, "--run")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    write_text(
        tmp_path / "tiny.yaml",
        "corpus: {source: good}\ntokens: {vocabulary_size: 300, sequence_length: 16}\n"
        "model: {layers: 1, d_model: 16, heads: 2}\ntraining: {steps: 8, batch_size: 4}\n",
    )
    return "tiny.yaml"


@pytest.mark.parametrize("override", [key for key in NONSENSE if "build" not in key])
def test_a_run_that_began_with_nonsense_resumes(tiny: str, override: str) -> None:
    with pytest.raises(UserError):
        runs.prepare(tiny, [override], None, None)
    run = RunDirectory(Path("runs/tiny"))
    assert not run.path.exists()
    write_text(run.recipe_file, loading.dump(loading.load(tiny, [override])))
    write_text(run.ledger, '{"step": 1}\n')
    recipe, directory = runs.prepare(tiny, [override], None, None)
    assert directory.path == run.path
    assert not recipe.differences(directory.recipe)


def test_a_name_that_is_a_path_needs_a_directory(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^name='\.\./\.\./away': is a path"):
        runs.prepare(tiny, ["name=../../away"], None, None)
    assert runs.prepare(tiny, ["name=../../away"], None, tmp_path / "here")[1].path == tmp_path / "here"


def test_a_sweep_of_nonsense_is_refused(tiny: str) -> None:
    with pytest.raises(UserError, match=r"^training\.schedule\.warmup=9"):
        sweep.plan(tiny, ["training.schedule={name: cosine, warmup: 1},{name: cosine, warmup: 9}"], 1, None, None)
    with pytest.raises(UserError, match=r"^name='a/b': is a path.*--out"):
        sweep.plan(tiny, ["name=a/b"], 1, None, None)
