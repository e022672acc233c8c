"""What the server needs is looked for before it begins."""

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest

from palmetto.cli.serve import serve
from palmetto.errors import UserError
from palmetto.host.extras import MODULES


def test_every_library_of_the_extra_is_looked_for() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    names = {requirement.partition(">")[0] for requirement in project["optional-dependencies"]["serve"]}
    assert names == set(MODULES["serve"])


@pytest.mark.parametrize("missing", MODULES["serve"])
def test_a_missing_library_is_named_with_its_advice(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(UserError, match=rf"^{missing}: needs the extra `serve`: .*(make|install)"):
        serve(["nowhere"])
