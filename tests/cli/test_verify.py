"""Tests `palmetto verify` on evaluations."""

from pathlib import Path

import pytest

from palmetto.cli.verify import verify
from palmetto.errors import UserError
from palmetto.evaluation.settings import SETTINGS


def test_an_evaluation_takes_no_other_mesh(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text("{}")
    with pytest.raises(UserError, match=r"^mesh\.data=2: an evaluation is replayed on the devices that it ran on"):
        verify(tmp_path, ["mesh.data=2"])
