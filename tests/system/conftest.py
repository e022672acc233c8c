"""Small runs that the tests of this folder share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.runs import RECIPE, SPIKY, Runs


@pytest.fixture(scope="session")
def make_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Runs]:
    # Under xdist each worker has a folder of its own; the one above it is common to all.
    cache = tmp_path_factory.getbasetemp().parent / "compiled"

    def make(folder: Path) -> Runs:
        runs = Runs(folder, cache)
        runs.recipe.write_text(RECIPE)
        runs.text.mkdir()
        library = Path(os.__file__).parent
        for name in ("argparse", "ast", "bdb", "calendar"):
            shutil.copy(library / f"{name}.py", runs.text / f"{name}.txt")
        return runs

    return make


@pytest.fixture(scope="session")
def prepared(make_runs: Callable[[Path], Runs], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A folder with the small text's tokens built in `tokens-only`."""
    runs = make_runs(tmp_path_factory.mktemp("runs"))
    runs("train", runs.recipe, "--run", "first", f"corpus.source={runs.text}", "--until", 1)
    tokens = runs.folder / "tokens-only"
    tokens.mkdir()
    for name in ("vocabulary.model", "tokens", "stages"):
        (runs.folder / "first" / name).rename(tokens / name)
    return runs


@pytest.fixture(scope="session")
def straight(prepared: Runs) -> tuple[str, str, bytes]:
    """The bits of 60 steps in one go."""
    prepared.train("straight")
    return prepared.bits("straight")


@pytest.fixture(scope="session")
def spiky(prepared: Runs) -> tuple[str, str, bytes]:
    """The bits of 60 steps with rollbacks, in one go."""
    prepared.train("spiky", *SPIKY)
    return prepared.bits("spiky")
