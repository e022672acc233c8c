"""Tests that each file of a source is found once and in order, and that everything else is named."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from pydantic import ValidationError

from palmetto.corpus.reading import listing
from palmetto.corpus.reading.finding import File, Found, find, find_all
from palmetto.errors import UserError
from palmetto.recipe.corpus import Build, Source

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)

    return write


def source(*paths: str, **others: object) -> Source:
    return Source.model_validate({"paths": list(paths), **others})


def names(found: Found) -> list[str]:
    return [file.name for file in found.files]


def refusal(root: Path, *paths: str, **others: object) -> str:
    with pytest.raises(UserError) as caught:
        find(source(*paths, **others), str(root), "web")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("corpus.build.sources.web.paths: ")
    return message


def test_folders_files_and_patterns_in_the_order_of_names(tmp_path: Path, make: Make) -> None:
    make("b/z.txt", "b/a/y.jsonl.gz", "a.txt", "c/1.md", "c/2.md", "c/d/3.csv")
    found = find(source("b", "./a.txt", "c/*.md", "c/**/*.csv"), str(tmp_path), "web")
    assert names(found) == ["a.txt", "b/a/y.jsonl.gz", "b/z.txt", "c/1.md", "c/2.md", "c/d/3.csv"]
    assert [file.kind for file in found.files] == ["text", "lines", "text", "text", "text", "csv"]
    assert found.files[0].path == str(tmp_path / "a.txt")
    assert found.files[0].size == len("a.txt")
    assert (found.passed, found.problems) == ((), ())


def test_a_name_that_looks_like_a_pattern(tmp_path: Path, make: Make) -> None:
    make("a[1]/x.txt", "b.txt")
    assert names(find(source("a[1]"), str(tmp_path), "web")) == ["a[1]/x.txt"]
    assert names(find(source("."), str(tmp_path), "web")) == ["a[1]/x.txt", "b.txt"]


def test_what_is_passed_over_is_named(tmp_path: Path, make: Make) -> None:
    make("s/a.txt", "s/.hidden.txt", "s/.git/config", "s/b.pdf", "s/sub/.cache/c.txt")
    (tmp_path / "s" / "gone.txt").symlink_to("nowhere")
    (tmp_path / "s" / "loop").symlink_to(tmp_path / "s")
    (tmp_path / "s" / "sub" / "up").symlink_to(tmp_path / "s")
    (tmp_path / "s" / "self.txt").symlink_to("self.txt")
    os.mkfifo(tmp_path / "s" / "pipe.txt")
    found = find(source("s"), str(tmp_path), "web")
    assert names(found) == ["s/a.txt"]
    assert {each.name: each.reason for each in found.passed} == {
        "s/.git": "hidden",
        "s/.hidden.txt": "hidden",
        "s/b.pdf": "not a kind of file that is read",
        "s/gone.txt": "a link to nothing",
        "s/loop": "a folder that is read already",
        "s/pipe.txt": "not a regular file",
        "s/sub/.cache": "hidden",
        "s/sub/up": "a folder that is read already",
    }
    assert [(each.name, "symbolic links" in each.reason) for each in found.problems] == [("s/self.txt", True)]


def test_the_same_file_by_several_ways_is_read_once(tmp_path: Path, make: Make) -> None:
    make("s/a.txt", "s/sub/b.txt")
    (tmp_path / "s" / "z.txt").symlink_to("a.txt")
    found = find(source("s", "s/sub", "s/a.txt"), str(tmp_path), "web")
    assert names(found) == ["s/a.txt", "s/sub/b.txt"]
    assert [(each.name, each.reason) for each in found.passed] == [("s/z.txt", "the same file as s/a.txt")]


def test_a_file_of_two_sources_is_refused(tmp_path: Path, make: Make) -> None:
    make("s/a.txt", "s/b.txt")
    sources = {"one": source("s"), "two": source("s/b.txt")}
    with pytest.raises(UserError, match=r"sources\.two\.paths: s/b\.txt is in the source one already"):
        find_all(sources, str(tmp_path))


def test_equal_names_in_two_folders_stay_apart(tmp_path: Path, make: Make) -> None:
    make("one/a.txt", "two/a.txt")
    assert names(find(source("two", "one"), str(tmp_path), "web")) == ["one/a.txt", "two/a.txt"]


def test_names_do_not_tell_where_the_root_lies(tmp_path: Path, make: Make) -> None:
    make("here/s/a.txt", "there/s/a.txt")
    here, there = (names(find(source("s"), str(tmp_path / root), "web")) for root in ("here", "there"))
    assert here == there


def test_a_missing_path_names_the_nearest(tmp_path: Path, make: Make) -> None:
    make("wikipedia/a.txt")
    assert "wikipeda: no such file or folder (did you mean 'wikipedia'?)" in refusal(tmp_path, "wikipeda")
    assert "(did you mean 'wikipedia'?)" in refusal(tmp_path, "wikipdia/sub/a.txt")
    assert "nothing matches it" in refusal(tmp_path, "wikipedia/*.csv")
    (tmp_path / "gone").symlink_to("nowhere")
    assert "gone: a link to nothing" in refusal(tmp_path, "gone")


def test_nothing_to_read_says_what_is_there(tmp_path: Path, make: Make) -> None:
    make("s/a.pdf", "s/.b.txt")
    (tmp_path / "empty").mkdir()
    message = refusal(tmp_path, "s")
    assert "no file to read in s" in message
    assert "found s/.b.txt (hidden), s/a.pdf (not a kind of file that is read)" in message
    assert "found nothing" in refusal(tmp_path, "empty")
    assert "a.pdf: not a kind of file that can be read; understood are .txt" in refusal(tmp_path, "s/a.pdf")
    assert "24 languages (C, C#" in refusal(tmp_path, "s/a.pdf", kind="code")


def test_unreadable_folders_are_problems(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make("s/a.txt", "s/locked/b.txt")
    list_all = os.listdir

    def denied(path: Path) -> list[str]:
        # chmod would not stop root, as whom the tests may run.
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return list_all(path)

    monkeypatch.setattr(listing.os, "listdir", denied)  # type: ignore[attr-defined]
    found = find(source("s"), str(tmp_path), "web")
    assert names(found) == ["s/a.txt"]
    assert [(each.name, each.reason) for each in found.problems] == [("s/locked", "no permission to look into it")]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    assert names(find(source("s"), str(tmp_path), "web")) == ["s/caf\\xe9.txt"]


def around(file: File) -> list[str]:
    """Returns the paths of licence files, the nearest first."""
    return [path for _, paths in file.licences for path in paths]


def test_code_of_checkouts_and_its_licences(tmp_path: Path, make: Make) -> None:
    make(
        "r/.git/HEAD",
        "r/LICENSE",
        "r/a.py",
        "r/data.jsonl",
        "r/README.md",
        "r/lib/x.c",
        "r/vendor/COPYING",
        "r/vendor/v/y.c",
    )
    make("loose/records.jsonl", "loose/b.go", "loose/.git.txt")
    found = find(source("r", "loose", kind="code"), str(tmp_path), "web")
    licences = {file.name: [Path(path).relative_to(tmp_path) for path in around(file)] for file in found.files}
    root = [Path("r/LICENSE"), Path("r/README.md")]
    assert licences == {
        "loose/b.go": [],
        "loose/records.jsonl": [],
        "r/a.py": root,
        "r/lib/x.c": root,
        "r/vendor/v/y.c": [Path("r/vendor/COPYING"), *root],
    }
    passed = {each.name for each in found.passed}
    assert passed == {"r/.git", "r/LICENSE", "r/README.md", "r/data.jsonl", "r/vendor/COPYING", "loose/.git.txt"}


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_addresses(memory: fsspec.AbstractFileSystem, tmp_path: Path, make: Make) -> None:
    web = ("/c/web/a.txt", "/c/web/sub/b.jsonl.zst", "/c/web/.hidden/c.txt", "/c/web/d.pdf")
    for name in (*web, "/c/r/.git/HEAD", "/c/r/LICENSE", "/c/r/src/x.rs"):
        memory.pipe(name, b"1234")
    for given, root in (("memory://c/web", None), ("web", "memory://c")):
        found = find(source(given), root, "web")
        assert names(found) == [f"{given}/a.txt", f"{given}/sub/b.jsonl.zst"]
        assert [file.path for file in found.files] == ["memory:///c/web/a.txt", "memory:///c/web/sub/b.jsonl.zst"]
        assert [file.size for file in found.files] == [4, 4]
        assert [(each.name, each.reason) for each in found.passed] == [
            (f"{given}/.hidden", "hidden"),
            (f"{given}/d.pdf", "not a kind of file that is read"),
        ]
    assert names(find(source("web/*.txt"), "memory://c", "web")) == ["web/a.txt"]
    (code,) = find(source("memory://c/r", kind="code"), None, "web").files
    assert around(code) == ["memory:///c/r/LICENSE"]
    make("s/a.txt")
    assert names(find(source(f"file://{tmp_path}/s"), None, "web")) == [f"file://{tmp_path}/s/a.txt"]
    with pytest.raises(UserError, match=r"memory://c/wed: no such file or folder \(did you mean 'web'\?\)"):
        find(source("memory://c/wed"), None, "web")
    with pytest.raises(UserError, match=r"gopher://x: .*gopher"):
        find(source("gopher://x"), None, "web")
    with pytest.raises(UserError, match=r"nothing matches"):
        find(source("memory://c/*.x"), None, "web")


def test_a_deep_folder(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.mkdir()
    here = os.getcwd()
    os.chdir(path)
    try:
        # The folders are deeper than Python recurses. The whole path may be too long for the system at once.
        for _ in range(1200):
            os.mkdir("a")
            os.chdir("a")
        Path("x.txt").write_text("x")
        assert names(find(source("s"), str(tmp_path), "web")) == ["s/" + "a/" * 1200 + "x.txt"]
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-r", str(path)], check=True)


def test_palmettos_own_directories_in_a_source_are_passed_over(tmp_path: Path, make: Make) -> None:
    make("s/a.txt", "s/deep/runs/x/recipe.yaml", "s/deep/runs/x/ledger.jsonl", "s/deep/runs/x/samples.txt")
    make("s/c/.lock", "s/c/stages/t.jsonl", "s/c/documents/b.txt", "s/w/text.json", "s/w/sweep.json", "s/w/x/b.txt")
    found = find(source("s"), str(tmp_path), "web")
    assert names(found) == ["s/a.txt"]
    ours = {"s/deep/runs/x": "a run", "s/c": "a corpus", "s/w": "a sweep"}
    assert {each.name: each.reason for each in found.passed} == {
        name: f"the directory of {what}" for name, what in ours.items()
    }
    found = find(source("s/**/*.txt"), str(tmp_path), "web")
    assert names(found) == ["s/a.txt"]
    assert {each.name: each.reason for each in found.passed} == {
        "s/deep/runs/x/samples.txt": "in the directory of a run",
        "s/c/documents/b.txt": "in the directory of a corpus",
        "s/w/x/b.txt": "in the directory of a sweep",
    }
    assert "s/deep/runs/x: the directory of a run" in refusal(tmp_path, "s/deep/runs/x")
    # A recipe may name the documents of a corpus.
    for path in ("s/c/documents", "s/c/documents/*.txt", f"{tmp_path}/s/c/documents/**/*.txt"):
        assert [file.name[-15:] for file in find(source(path), str(tmp_path), "web").files] == ["documents/b.txt"]
    assert "s/c/documents/b.txt (in the directory of a corpus)" in refusal(tmp_path, "s/c/**/*.txt")


def test_palmettos_own_directories_at_an_address_are_passed_over(
    memory: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    for name in ("a.txt", "runs/x/recipe.yaml", "runs/x/ledger.jsonl", "runs/x/samples.txt"):
        memory.pipe(f"/s/{name}", b"text")
    found = find(source("memory://s"), None, "web")
    assert [file.path for file in found.files] == ["memory:///s/a.txt"]
    assert [each.reason for each in found.passed] == ["the directory of a run"]


def test_pipes_and_devices_are_never_opened(tmp_path: Path, make: Make) -> None:
    make("s/a.txt")
    os.mkfifo(tmp_path / "s" / "pipe.txt")
    assert "s/pipe.txt: a pipe, not a regular file" in refusal(tmp_path, "s/pipe.txt")
    found = find(source("s/*.txt"), str(tmp_path), "web")
    assert names(found) == ["s/a.txt"]
    assert [(each.name, each.reason) for each in found.passed] == [("s/pipe.txt", "a pipe, not a regular file")]


@pytest.mark.parametrize("key", ["paths", "root"])
def test_an_empty_path_is_refused(key: str) -> None:
    values = {"root": "x", "sources": {"web": {"paths": ["a"]}}}
    values |= {"root": ""} if key == "root" else {"sources": {"web": {"paths": [""]}}}
    with pytest.raises(ValidationError, match="at least 1 character"):
        Build.model_validate(values)
