"""Tests that a corpus is not built among its own sources."""

import os
from pathlib import Path

import pytest

from palmetto.corpus import separation
from palmetto.corpus.reading.finding import find
from palmetto.errors import UserError
from palmetto.recipe.corpus import Build


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("7")


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
        separation.check(build, tmp_path / out)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", ["~/web", "~/web/*", "~/**/*.json"])
def test_home_is_expanded_before_it_is_looked_at(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "web/a.txt")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"web\.paths.*build it in a folder"):
        separation.check(recipe(Path("/"), path), tmp_path / "web" / "out")
    with pytest.raises(UserError, match=r"contamination\.evaluation.*build it in a"):
        separation.check(recipe(tmp_path, "web", evaluation="~/eval"), tmp_path / "eval" / "out")


@pytest.mark.parametrize(("out", "line"), [("eval/out", "would be built inside it"), ("eval", "lies inside")])
def test_evaluation_sets_and_corpus_lie_apart(out: str, line: str, tmp_path: Path) -> None:
    fill(tmp_path, "eval/quiz.jsonl", "web/a.txt")
    with pytest.raises(UserError, match=rf"contamination\.evaluation: .*{line}"):
        separation.check(recipe(tmp_path, "web", evaluation="eval"), tmp_path / out)


@pytest.mark.parametrize("path", ["web", "web/*.txt", "**/*.txt", "w*", "memory://web"])
def test_separate_directories_are_accepted(path: str, tmp_path: Path) -> None:
    fill(tmp_path, "web/a.txt")
    separation.check(recipe(tmp_path, path), tmp_path / "out")
    separation.check(recipe(tmp_path, path), tmp_path / "corpora" / "out")


def test_a_link_into_the_corpus_is_found(tmp_path: Path) -> None:
    fill(tmp_path, "web/a.txt", "out/b.txt")
    os.symlink("../out", tmp_path / "web" / "link")
    build = recipe(tmp_path, "web")
    separation.check(build, tmp_path / "out")
    with pytest.raises(UserError, match=r"out/b\.txt: lies inside"):
        separation.check_files(find(build.sources["web"], build.root, "web").files, tmp_path / "out")
