"""Small runs that the tests of this folder share, among all workers of xdist too."""

import contextlib
import copy
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.runs import RECIPE, SPIKY, Runs


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers have in common: under xdist each has one of its own in it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextlib.contextmanager
def first(folder: Path, what: str) -> Iterator[bool]:
    """Whether nobody has made it yet; who comes while it is made waits."""
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
    """Where what all workers need is made once: the small text, and its tokens in `tokens-only`."""
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
    """A folder of a worker's own with the tokens of the common text."""
    runs = copy.copy(made)
    runs.folder = tmp_path_factory.mktemp("runs")
    runs.recipe = runs.folder / made.recipe.name
    shutil.copy(made.recipe, runs.recipe)
    shutil.copytree(made.folder / "tokens-only", runs.folder / "tokens-only")
    return runs


@pytest.fixture(scope="session")
def quick(prepared: Runs) -> Runs:
    """The same folder for runs that are compiled in less than half the time, and not to be compared with others."""
    return prepared.quickly()


@pytest.fixture(scope="session")
def straight(made: Runs, prepared: Runs, common: Path) -> tuple[str, str, bytes]:
    """The bits of 60 steps in one go."""
    with first(common, "straight") as new:
        if new:
            made.train("straight")
    shutil.copytree(made.folder / "straight", prepared.folder / "straight")
    return prepared.bits("straight")


@pytest.fixture(scope="session")
def spiky(made: Runs, prepared: Runs, common: Path) -> tuple[str, str, bytes]:
    """The bits of 60 steps with rollbacks, in one go."""
    with first(common, "spiky") as new:
        if new:
            made.train("spiky", *SPIKY)
    shutil.copytree(made.folder / "spiky", prepared.folder / "spiky")
    return prepared.bits("spiky")
