"""Where a corpus may be built: in a new or empty folder or a corpus, apart from what is read."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from palmetto.corpus import apart, directory, made, tables
from palmetto.errors import UserError
from palmetto.recipe.corpus import Build

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


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
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
    assert made.listed(tmp_path / "stages") == set()


def old_corpus(folder: Path) -> Path:
    """A corpus as builds made them that kept no list, and files of the user's beside theirs."""
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
    assert made.listed(tmp_path / "stages") == {
        f"stages/filters-{HEX}/",
        f"stages/vocabulary-{HEX}.model",
        "vocabulary.model",
        "datasheet.html",
        "contamination/quiz.jsonl",
        "documents/web/0.parquet",
        f"stages/extraction-{HEX}/" if killed else "manifest.json",
    }


def test_a_stranger_among_the_documents_is_refused(tmp_path: Path) -> None:
    write_manifest(old_corpus(tmp_path))
    fill(tmp_path, "documents/mine.parquet", "documents/web/.0.parquet.x1y2")
    with pytest.raises(UserError, match=r"documents/mine\.parquet: no build has made this.*move it away"):
        directory.enter(tmp_path)


def recipe(root: Path, *paths: str, evaluation: str | None = None) -> Build:
    values = {"root": str(root), "sources": {"web": {"paths": paths}}}
    if evaluation:
        values["contamination"] = {"evaluation": [evaluation]}
    return Build.model_validate(values)


@pytest.mark.parametrize(
    ("out", "path", "line"),
    [
        ("raw", "web", "lies inside"),
        ("raw/web", "web", "lies inside"),
        ("raw/web/out", "web", "would be built inside it"),
        ("link/out", "web", "would be built inside it"),
        ("raw/out", ".", "would be built inside it"),
        ("raw", "web/*.txt", "lies inside"),
        ("raw/out", "**/*.json", r"would match .*manifest\.json"),
        ("raw/out", "**/datasheet.h*", r"would match .*datasheet\.html"),
        ("raw/out", "o*", "would match"),
        ("raw/out", "*/*", "would match"),
        ("raw", "file:///{root}/web", "lies inside"),
    ],
)
def test_sources_and_corpus_lie_apart(out: str, path: str, line: str, tmp_path: Path) -> None:
    fill(tmp_path, "raw/web/a.txt")
    (tmp_path / "link").symlink_to("raw/web")
    build = recipe(tmp_path / "raw", path.format(root=str(tmp_path / "raw").lstrip("/")))
    with pytest.raises(UserError, match=rf"corpus\.build\.sources\.web\.paths.*{line}.*build it in a") as refused:
        apart.check(build, tmp_path / out)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", ["~/web", "~/web/*", "~/**/*.json"])
def test_home_is_expanded_before_it_is_looked_at(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "web/a.txt")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"web\.paths.*build it in a folder"):
        apart.check(recipe(Path("/"), path), tmp_path / "web" / "out")
    with pytest.raises(UserError, match=r"contamination\.evaluation.*build it in a"):
        apart.check(recipe(tmp_path, "web", evaluation="~/eval"), tmp_path / "eval" / "out")


@pytest.mark.parametrize(("out", "line"), [("eval/out", "would be built inside it"), ("eval", "lies inside")])
def test_evaluation_sets_and_corpus_lie_apart(out: str, line: str, tmp_path: Path) -> None:
    fill(tmp_path, "eval/quiz.jsonl", "web/a.txt")
    with pytest.raises(UserError, match=rf"contamination\.evaluation: .*{line}"):
        apart.check(recipe(tmp_path, "web", evaluation="eval"), tmp_path / out)


@pytest.mark.parametrize("path", ["web", "web/*.txt", "**/*.txt", "w*", "memory://web"])
def test_what_lies_apart_is_taken(path: str, tmp_path: Path) -> None:
    fill(tmp_path, "web/a.txt")
    apart.check(recipe(tmp_path, path), tmp_path / "out")
    apart.check(recipe(tmp_path, path), tmp_path / "corpora" / "out")


def test_a_link_into_the_corpus_is_found(tmp_path: Path) -> None:
    from palmetto.corpus.reading.finding import find

    fill(tmp_path, "web/a.txt", "out/b.txt")
    os.symlink("../out", tmp_path / "web" / "link")
    build = recipe(tmp_path, "web")
    apart.check(build, tmp_path / "out")
    with pytest.raises(UserError, match=r"out/b\.txt: lies inside"):
        apart.check_files(find(build.sources["web"], build.root, "web").files, tmp_path / "out")
