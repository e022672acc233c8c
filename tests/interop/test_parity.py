"""Tests that transformers computes the same from an export, for every kind of recipe that it is exact for."""

import json
from pathlib import Path

import pytest

from palmetto.interop import peer
from palmetto.interop.export import export
from tests.references import exported
from tests.references.exported import KINDS


@pytest.fixture(scope="module")
def python() -> Path:
    """Returns the Python of the peers' environment."""
    if not (exported.PEERS / "bin" / "python").exists():
        pytest.skip(f"no {exported.PEERS.name}, the peers' environment, which benchmarks/peer_environment.py makes")
    found = peer.environment(peer.RUNTIMES["huggingface"], exported.PEERS, print)
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_computes_the_same(kind: str, python: Path, tmp_path: Path) -> None:
    name, model = KINDS[kind]
    run = exported.made(tmp_path / "run", exported.recipe(model))
    checked = export(run, "huggingface", tmp_path / "out", None, "float32", python).checked
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [name]
    assert checked is not None
    assert checked.holds, checked
