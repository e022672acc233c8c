"""Saved checkpoints and a small recipe that tests share."""

import shutil
from pathlib import Path

import pytest

from palmetto.training.checkpoint import Checkpoints
from tests.conftest import RecipeMaker
from tests.references.checkpoint_states import FIELDS, TABLE, some_state
from tests.references.recovery_runs import LITTLE


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Returns checkpoints of steps 10 and 20, which tests must leave unchanged."""
    checkpoints = Checkpoints(tmp_path_factory.mktemp("run") / "checkpoints", TABLE)
    for step in (10, 20):
        checkpoints.save(some_state(step), step=step, **FIELDS)
    checkpoints.wait()
    return checkpoints


@pytest.fixture
def copied(saved: Checkpoints, tmp_path: Path) -> Checkpoints:
    """Returns a copy of the checkpoints, which a test may damage."""
    shutil.copytree(saved.path, tmp_path / "checkpoints")
    return Checkpoints(tmp_path / "checkpoints", TABLE)


@pytest.fixture(scope="session")
def little(tiny_recipe: RecipeMaker) -> RecipeMaker:
    """Makes a recipe with small spike windows and no end in sight; overrides change its keys."""
    return lambda *overrides: tiny_recipe(*LITTLE, "training.steps=1000000", "training.keep_last=1", *overrides)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a new folder for runs."""
    return tmp_path
