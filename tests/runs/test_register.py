"""The checkpoints of a run, by their folders and by the register."""

import shutil
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.files import names_in, present
from palmetto.json_lines import read_json_lines
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.runs.register import Entry, Register, completed
from palmetto.training import ledger
from tests.conftest import RecipeMaker


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text("{}")


def test_steps_are_sorted_as_numbers_and_other_names_ignored(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    make(run.checkpoints, "00000008", "100000000", "99999999", "damaged-00000009", "00000008-old", "7", "000000010")
    assert completed(run.checkpoints) == [8, 99_999_999, 100_000_000]
    assert run.newest_manifest is None


def test_entries_are_kept_until_they_are_struck_out(tmp_path: Path) -> None:
    register = Register(tmp_path / "checkpoints")
    assert register.read() is None
    register.strike(8)
    assert register.read() is None
    for step in (8, 2):
        register.enter(Entry(step, 0, "c"))
    assert Register(tmp_path / "checkpoints").read() == {2: Entry(2, 0, "c"), 8: Entry(8, 0, "c")}
    register.strike(8)
    assert register.read() == {2: Entry(2, 0, "c")}


def test_a_run_with_registered_checkpoints_has_begun(tmp_path: Path, tiny_recipe: RecipeMaker) -> None:
    run = RunDirectory(tmp_path)
    run.recipe_file.write_text(loading.dump(tiny_recipe()))
    begun = [run.begun]
    make(run.checkpoints, "00000008")
    Register(run.checkpoints).enter(Entry(8, 0, "c"))
    begun.append(run.begun)
    shutil.rmtree(run.checkpoints)
    begun.append(run.begun)
    assert begun == [False, True, True]
    with pytest.raises(UserError, match=r"training\.seed"):
        run.claim(tiny_recipe("training.seed=1"))


@pytest.mark.parametrize("name", ["ledger.jsonl", "events.jsonl"])
def test_a_file_behind_a_dangling_link_is_not_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "disk").mkdir()
    file = tmp_path / name
    file.symlink_to(tmp_path / "disk" / name)
    readers = [ledger.read, ledger.Ledger.open] if name == "ledger.jsonl" else [read_json_lines]
    for read in readers:
        with pytest.raises(UserError, match=rf"{name}: a link to .*disk/{name}, where nothing is"):
            read(file)  # type: ignore[operator]
    assert not names_in(tmp_path / "disk"), "nothing is written there"


def test_inaccessible_files_are_not_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not present(tmp_path / "none")
    assert not present(tmp_path / "none" / "file")
    assert names_in(tmp_path / "none") == []
    assert present(tmp_path)
    (tmp_path / "disk").symlink_to(tmp_path / "unmounted")
    for path in (tmp_path / "disk", tmp_path / "disk" / "folder" / "file"):
        with pytest.raises(UserError, match=r"disk: a link to .*unmounted, where nothing is"):
            present(path)
    (tmp_path / "unmounted").mkdir()
    assert not present(tmp_path / "disk" / "file")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UserError, match="loop: cannot be looked at"):
        present(loop)
    loop.unlink()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot be read"):
        names_in(tmp_path / "file")
