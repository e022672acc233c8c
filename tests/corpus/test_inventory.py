"""Tests that a build deletes only what the inventory lists, completely or not at all."""

import os
from pathlib import Path

import pytest

from palmetto.corpus import inventory
from palmetto.errors import UserError


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "stages"


def fill(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text")
    return path


def test_only_what_is_listed_is_removed(work: Path) -> None:
    inventory.claim(work, ["documents/web/a.parquet", "stages/filters-1/"])
    for name in ("documents/web/a.parquet", "documents/web/mine.parquet", "stages/filters-1/x", "stages/filters-2/x"):
        fill(work.parent / name)
    everything = ["documents/web/a.parquet", "documents/web/mine.parquet", "stages/filters-1/", "stages/filters-2/"]
    inventory.remove(work, everything)
    left = {str(path.relative_to(work.parent)) for path in work.parent.rglob("*") if path.is_file()}
    assert left == {"documents/web/mine.parquet", "stages/filters-2/x", "stages/made.json"}
    assert inventory.listed(work) == set()


def test_existing_files_are_not_claimed(work: Path) -> None:
    fill(work.parent / "vocabulary.model")
    with pytest.raises(UserError, match=r"vocabulary\.model: no build has made this.* move it away"):
        inventory.claim(work, ["vocabulary.model"])
    inventory.write(work, ["vocabulary.model"])
    inventory.claim(work, ["vocabulary.model"])


def test_folders_left_empty_go_and_others_stay(work: Path) -> None:
    inventory.claim(work, ["documents/a/1.parquet", "documents/b/1.parquet"])
    fill(work.parent / "documents/a/1.parquet")
    fill(work.parent / "documents/b/1.parquet")
    inventory.remove(work, ["documents/a/1.parquet"])
    assert [path.name for path in (work.parent / "documents").iterdir()] == ["b"]


@pytest.mark.parametrize("moment", ["before the name changes", "while it is emptied"])
def test_a_killed_removal_never_leaves_half(work: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = work / "filters-1", work / "filters-2"
    inventory.make_way(work, "filters", mine)
    for name in ("notes", "done.json"):
        fill(mine / name)

    def killed(path: Path, *_: object) -> None:
        if moment == "while it is emptied":
            os.unlink(Path(path) / "notes")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename" if moment == "before the name changes" else "shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            inventory.make_way(work, "filters", other)
    assert not mine.exists() or (mine / "notes").exists()
    inventory.make_way(work, "filters", other)
    assert [path.name for path in work.iterdir()] == ["made.json"]
    assert inventory.listed(work) == {"stages/filters-2/"}


def test_other_stages_and_folders_of_like_names_stay(work: Path) -> None:
    inventory.make_way(work, "near duplicates", work / "near duplicates-1")
    inventory.make_way(work, "filters", work / "filters-1")
    fill(work / "near duplicates-1" / "x")
    fill(work / "filters-of-mine" / "x")
    inventory.make_way(work, "filters", work / "filters-2")
    assert (work / "near duplicates-1" / "x").exists()
    assert (work / "filters-of-mine" / "x").exists()


def test_a_damaged_list_is_named(work: Path) -> None:
    fill(work / inventory.LIST).write_text("[1, 2]")
    with pytest.raises(UserError, match=r"made\.json: not a list of what builds have made"):
        inventory.listed(work)
