"""Tests the reading of what a ladder is asked for."""

from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.ladder import request as asked
from palmetto.recipe import loading


def test_numbers_have_letters_or_exponents() -> None:
    assert asked.numbers("200k, 1.5M,4e6,2B", "--sizes") == [2e5, 1.5e6, 4e6, 2e9]


@pytest.mark.parametrize("text", ["", "1,,2", "0", "-3", "2x", "1M,1000k", "nan", "1e400", "2000T"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--sizes"):
        asked.numbers(text, "--sizes")


def read(out: Path, recipe: str = "quickstart", predict: str | None = None, source: str | None = None) -> object:
    return asked.read(recipe, [], "1M", "20", predict, source, out)


def test_requests_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="palm-1m names no text"):
        read(tmp_path, "palm-1m")
    with pytest.raises(UserError, match=r"--predict palm-1m: a vocabulary of 2,048 .* quickstart has one of 8,192"):
        read(tmp_path, predict="palm-1m")
    spans = tmp_path / "spans.yaml"
    spans.write_text(loading.dump(loading.load("quickstart", ["training.objective={name: prefix}"])))
    with pytest.raises(UserError, match=r"spans\.yaml: training\.objective=prefix, and quickstart has causal"):
        read(tmp_path / "out", predict=str(spans))
    with pytest.raises(UserError, match="the source itself"):
        read(tmp_path, source=str(tmp_path))


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    read(tmp_path)
    (tmp_path / "ladder.md").write_text("mine")
    with pytest.raises(UserError, match=r"--out .*: holds ladder\.md, which is no ladder's"):
        read(tmp_path)
    (tmp_path / "text.json").write_text("{}")
    read(tmp_path)
    (tmp_path / "recipe.yaml").write_text("a run's")
    with pytest.raises(UserError, match="which is no ladder's"):
        read(tmp_path)
