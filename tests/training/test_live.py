"""Checkpoints may be deleted by training while they are read."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from palmetto.training import live
from palmetto.training.checkpoint import Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Returns a stand-in for the checkpoints of a run, a folder with checkpoint 20."""
    (tmp_path / "00000020").mkdir()
    (tmp_path / "00000020" / "manifest.json").write_text("first")
    return cast(Checkpoints, SimpleNamespace(path=tmp_path))


def test_the_result_of_the_look_is_returned(checkpoints: Checkpoints) -> None:
    assert live.read(checkpoints, 20, lambda: 7) == 7


def test_a_checkpoint_deleted_meanwhile_gives_none(checkpoints: Checkpoints) -> None:
    def look() -> int:
        shutil.rmtree(checkpoints.path / "00000020")
        raise ValueError("arrays: half of them are missing")

    assert live.read(checkpoints, 20, look) is None
    assert live.read(checkpoints, 20, lambda: 7) is None


def test_a_checkpoint_replaced_meanwhile_gives_none(checkpoints: Checkpoints) -> None:
    def look() -> int:
        (checkpoints.path / "00000020" / "manifest.json").write_text("second")
        return 7

    assert live.read(checkpoints, 20, look) is None


def test_an_error_of_a_remaining_checkpoint_is_raised(checkpoints: Checkpoints) -> None:
    def look() -> int:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        live.read(checkpoints, 20, look)
