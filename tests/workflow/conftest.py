"""A small finished run that tests share."""

import inspect
import shutil
from argparse import ArgumentParser
from pathlib import Path

import pytest

from palmetto.runs.directory import RunDirectory
from tests.references.command_runs import RECIPE, command


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a text, a recipe and a finished run of it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(inspect.getsource(ArgumentParser))
    (folder / "tiny.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("run", "tiny.yaml", "--run", "run")
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """Returns a copy of the finished run, in a copy of its folder that is the working directory."""
    for name in ("text.txt", "tiny.yaml"):
        shutil.copy(whole / name, tmp_path)
    shutil.copytree(whole / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    run = RunDirectory(Path("run"))
    run.recipe_file.write_text(run.recipe_file.read_text().replace(str(whole), str(tmp_path)))
    return run
