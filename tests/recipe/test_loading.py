"""Reading recipes from files and overrides, with a helpful message for everything invalid."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.recipe import Recipe, loading
from tests.recipe.conftest import refusal


def test_the_default_name_is_that_of_the_file(tiny: str) -> None:
    assert loading.load(tiny).name == "tiny"
    assert loading.load(tiny, ["name=other"]).name == "other"


def test_overrides_apply_in_order_at_every_depth(tiny: str) -> None:
    recipe = loading.load(
        tiny,
        [
            "model.layers=3",
            "training.spikes.patience=4",
            "training.clip=null",
            "model.layers=4",
            "training.batch_size={0: 8, 100: 16}",
            "corpus.source=some where=else",
            "training.schedule.peak=1e-3",
        ],
    )
    assert recipe.model.layers == 4
    assert recipe.training.spikes.patience == 4
    assert recipe.training.clip is None
    assert recipe.training.batch_size == {0: 8, 100: 16}
    assert recipe.corpus.source == "some where=else"
    assert recipe.training.schedule.peak == 1e-3
    assert recipe.model.model_copy(update={"layers": 2}) == loading.load(tiny).model


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-2", 1e-2), ("1E+1", 10.0), ("1.5e2", 150.0), ("+.5", 0.5), ("3", 3.0), ("1_0.5", 10.5), ("2.", 2.0)],
)
def test_numbers_are_read_as_people_write_them(tiny: str, text: str, value: float) -> None:
    assert loading.load(tiny, [f"training.clip={text}"]).training.clip == value


def test_every_key_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    program = "from palmetto.recipe import loading; print(*loading.every_key())"  # here, tests may have added kinds
    keys = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert len(keys) > 80
    sections = {key.rpartition(".")[0] for key in keys}
    words = set(re.findall(r"`(?:[a-z_.]+\.)?([a-z_0-9]+)`", documented))
    described_elsewhere = {"mode", "mean_span", "noise"} | {key.rpartition(".")[2] for key in keys if ".spikes." in key}
    assert {key.rpartition(".")[2] for key in keys if key not in sections} - described_elsewhere <= words


def test_an_unknown_recipe_is_refused_with_the_nearest(tmp_path: Path) -> None:
    assert "did you mean 'quickstart'?" in refusal("quickstar")
    assert all(name in refusal("xyzzy") for name in loading.names())
    assert refusal(str(tmp_path)).startswith(f"{tmp_path}: a folder; ")


def test_a_missing_file_is_refused_with_the_nearest(tmp_path: Path, tiny: str) -> None:
    missing = str(tmp_path / "nofile.yaml")
    assert refusal(missing) == f"{missing}: no such file; `palmetto recipes` lists the shipped ones"
    assert "no such file (did you mean 'quickstart'?)" in refusal("quickstart.yaml")
    misspelt = tiny.replace("tiny.yaml", "tinny.yaml")
    assert f"no such file (did you mean {tiny!r}?)" in refusal(misspelt)


KEYS = "expected a recipe's keys (name, corpus, tokens, model, training, mesh, finetuning, energy)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", f": {KEYS}, found nothing"),
        ("- 1\n- 2\n", f": {KEYS}, found a list"),
        ("just words", f": {KEYS}, found 'just words'"),
        ("a: [1\n", ", line 2, column 1: not YAML: expected ',' or ']', but got "),
        ("\0", ": not YAML: character 1: special characters are not allowed"),
        ("a: 1\nb: 2\na: 2\n", ", line 3, column 1: not YAML: the key 'a' appears twice"),
        ("{[1]: 2}", ", line 1, column 2: not YAML: [1] cannot be a key"),
        ("tokens: &x {y: *x}\n", ", line 1, column 9: not YAML: found unconstructable recursive node"),
    ],
)
def test_an_invalid_file_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    assert refusal(str(file)).startswith(f"{file}{says}")


# U+0085 has its own test below.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x85"), min_size=1)


@given(source=texts, peak=st.floats(1e-300, 1e300), seed=st.integers(0, 2**32 - 1))
def test_any_recipe_is_dumped_and_loaded_unchanged(tiny: str, source: str, peak: float, seed: int) -> None:
    values = loading.load(tiny).model_dump()
    values["corpus"]["source"] = source
    values["training"]["schedule"]["peak"] = peak
    values["training"]["seed"] = seed
    recipe = Recipe.model_validate(values)
    file = Path(tiny).with_name("again.yaml")
    file.write_text(loading.dump(recipe))
    assert loading.load(str(file)) == recipe


@pytest.mark.parametrize("name", ["1e5", "1E-2", "\x85"])
def test_odd_names_are_dumped_and_loaded_unchanged(tiny: str, name: str) -> None:
    recipe = loading.load(tiny).model_copy(update={"name": name})
    file = Path(tiny).with_name("odd.yaml")
    file.write_text(loading.dump(recipe))
    assert loading.load(str(file)) == recipe


def test_a_name_with_a_lone_surrogate_is_refused(tiny: str) -> None:
    assert refusal(tiny, r'name="\ud800"').startswith(r"name='\ud800': has a lone surrogate")


def test_a_stage_of_a_ramp_can_be_overridden(tiny: str) -> None:
    recipe = loading.load(tiny, ["training.batch_size={0: 8}", "training.batch_size.100=16"])
    assert recipe.training.batch_size == {0: 8, 100: 16}


@pytest.mark.parametrize("contents", [b"tokens: {[1]: 2}\n", b"\xff\xfe\x00"])
def test_odd_bytes_and_keys_are_refused_by_name(tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(contents)
    assert str(file) in refusal(str(file))


@pytest.mark.parametrize(
    "text", ["books 📚", 'a "b" \\ c', "no", "null", "./~", "1e3", " x: [", "\x85\u2028\ufeff\t\n"]
)
def test_an_override_takes_any_text(text: str) -> None:
    loaded = loading.load("bloom-176b", [loading.override("corpus.source", text)])
    assert loaded.corpus.source == text
