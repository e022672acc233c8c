"""Tests that a corpus is built only in a new or empty folder, or in a corpus."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from palmetto.corpus import directory, inventory, tables
from palmetto.errors import UserError

HEX = "0123456789abcdef"


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("7")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "names",
    [
        ("documents/web/a.parquet",),
        ("contamination/notes.txt",),
        ("stages/filters-of-mine/x",),
        ("manifest.json",),
        ("recipe.yaml", ".lock"),
    ],
)
def test_a_folder_of_other_things_is_refused_untouched(names: tuple[str, ...], tmp_path: Path) -> None:
    before = contents(fill(tmp_path, *names))
    with pytest.raises(UserError, match=f"neither empty nor a corpus.*{names[0].partition('/')[0]}.* new or empty"):
        directory.check(tmp_path)
    assert contents(tmp_path) == before


def test_files_and_dangling_links_are_refused_as_directories(tmp_path: Path) -> None:
    fill(tmp_path, "file")
    (tmp_path / "link").symlink_to("nowhere")
    for name, line in (("file", "a file; give a folder"), ("link", "a link to nothing; give a folder")):
        with pytest.raises(UserError, match=line):
            directory.check(tmp_path / name)


def test_new_empty_and_barely_begun_folders_are_taken(tmp_path: Path) -> None:
    directory.check(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    directory.check(tmp_path)
    (tmp_path / ".lock").write_text("123")
    fill(tmp_path, "stages/.made.json.x1y2")
    directory.check(tmp_path)
    directory.enter(tmp_path)
    directory.check(tmp_path)
    assert inventory.listed(tmp_path / "stages") == set()


def old_corpus(folder: Path) -> Path:
    """Writes a corpus as older builds without a list made it, with some of the user's files beside theirs."""
    fill(
        folder,
        f"stages/filters-{HEX}/done.json",
        f"stages/vocabulary-{HEX}.model",
        "stages/filters-mine/x",
        "vocabulary.model",
        "datasheet.html",
        "contamination/mine.jsonl",
        "notes.txt",
    )
    tables.write(folder / "documents" / "web" / "0.parquet", pa.table({"text": ["a"]}), digest="d")
    mark = {"id": "1", "contaminated": True, "shares": {}, "contaminated_before": True, "shares_before": {}}
    (folder / "contamination" / "quiz.jsonl").write_text(json.dumps(mark) + "\n")
    return folder


def write_manifest(folder: Path) -> None:
    values = {"format": 1, "digest": "d", "recipe": {}, "stages": [], "files": [{"file": "documents/web/0.parquet"}]}
    (folder / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize("killed", [False, True])
def test_a_corpus_without_a_list_is_known_by_its_content(killed: bool, tmp_path: Path) -> None:
    old_corpus(tmp_path)
    if killed:
        fill(tmp_path, f"stages/extraction-{HEX}/tasks/web/000000.json")
    else:
        write_manifest(tmp_path)
    directory.check(tmp_path)
    directory.enter(tmp_path)
    assert inventory.listed(tmp_path / "stages") == {
        f"stages/filters-{HEX}/",
        f"stages/vocabulary-{HEX}.model",
        "vocabulary.model",
        "datasheet.html",
        "contamination/quiz.jsonl",
        "documents/web/0.parquet",
        f"stages/extraction-{HEX}/" if killed else "manifest.json",
    }


def test_a_foreign_file_among_the_documents_is_refused(tmp_path: Path) -> None:
    write_manifest(old_corpus(tmp_path))
    fill(tmp_path, "documents/mine.parquet", "documents/web/.0.parquet.x1y2")
    with pytest.raises(UserError, match=r"documents/mine\.parquet: no build has made this.*move it away"):
        directory.enter(tmp_path)
