"""Small runs that all tests of this folder share, across the workers of xdist."""

import contextlib
import copy
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.references.whole_runs import RECIPE, SPIKY, Runs


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder that all workers of xdist share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextlib.contextmanager
def first(folder: Path, what: str) -> Iterator[bool]:
    """Yields whether this worker is the first to make it; other workers wait until it is made."""
    with (folder / f"{what}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = folder / f"{what}.done"
        yield not done.exists()
        done.touch()


@pytest.fixture(scope="session")
def make_runs() -> Callable[[Path], Runs]:
    def make(folder: Path) -> Runs:
        runs = Runs(folder)
        runs.recipe.write_text(RECIPE)
        runs.text.mkdir()
        library = Path(os.__file__).parent
        for name in ("argparse", "ast", "bdb", "calendar"):
            shutil.copy(library / f"{name}.py", runs.text / f"{name}.txt")
        return runs

    return make


@pytest.fixture(scope="session")
def made(make_runs: Callable[[Path], Runs], common: Path) -> Runs:
    """Makes the small text and its tokens, in `tokens-only`, once for all workers."""
    folder = common / "made"
    with first(common, "prepared") as new:
        if not new:
            return Runs(folder)
        folder.mkdir()
        runs = make_runs(folder)
        runs("train", runs.recipe, "--run", "first", f"corpus.source={runs.text}", "--until", 1)
        tokens = folder / "tokens-only"
        tokens.mkdir()
        for name in ("vocabulary.model", "tokens", "stages"):
            (folder / "first" / name).rename(tokens / name)
    return runs


@pytest.fixture(scope="session")
def prepared(made: Runs, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Returns a folder of this worker with the tokens of the shared text."""
    runs = copy.copy(made)
    runs.folder = tmp_path_factory.mktemp("runs")
    runs.recipe = runs.folder / made.recipe.name
    shutil.copy(made.recipe, runs.recipe)
    shutil.copytree(made.folder / "tokens-only", runs.folder / "tokens-only")
    return runs


@pytest.fixture(scope="session")
def straight(made: Runs, prepared: Runs, common: Path) -> tuple[str, str, bytes]:
    """Returns the bits of 60 uninterrupted steps."""
    with first(common, "straight") as new:
        if new:
            made.train("straight")
    shutil.copytree(made.folder / "straight", prepared.folder / "straight")
    return prepared.bits("straight")


@pytest.fixture(scope="session")
def spiky(made: Runs, prepared: Runs, common: Path) -> tuple[str, str, bytes]:
    """Returns the bits of 60 uninterrupted steps with rollbacks."""
    with first(common, "spiky") as new:
        if new:
            made.train("spiky", *SPIKY)
    shutil.copytree(made.folder / "spiky", prepared.folder / "spiky")
    return prepared.bits("spiky")
