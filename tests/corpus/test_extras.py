"""Tests that missing libraries are found before a build."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.host.extras import MODULES
from palmetto.workflow import corpus as corpora
from tests.conftest import RecipeMaker


def test_every_library_of_the_extra_is_looked_for() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    names = {requirement.partition(">")[0] for requirement in project["optional-dependencies"]["corpus"]}
    assert names - {"xxhash"} == {module.replace("sklearn", "scikit-learn") for module in MODULES["corpus"]}


@pytest.mark.parametrize("missing", MODULES["corpus"])
def test_a_missing_library_is_named_before_any_stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_recipe: RecipeMaker, missing: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    recipe = tiny_recipe("corpus.build={sources: {web: {paths: [missing]}}}")
    with pytest.raises(UserError, match=rf"^{missing}: needs the extra `corpus`: .*(make|install)"):
        corpora.build(recipe, tmp_path / "out", print)
    assert not (tmp_path / "out").exists()
