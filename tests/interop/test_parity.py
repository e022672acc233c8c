"""Tests that transformers computes the same from an export, for every kind of recipe that it is exact for."""

import json
from pathlib import Path

import pytest

from palmetto.interop.export import export
from tests.references import exported
from tests.references.exported import KINDS


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_computes_the_same(kind: str, peers: Path, tmp_path: Path) -> None:
    run = exported.made(tmp_path / "run", exported.of_kind(kind))
    checked = export(run, "huggingface", tmp_path / "out", None, "float32", peers).checked
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [KINDS[kind][0]]
    assert checked is not None
    assert checked.holds, checked
