"""Tests that the library is built once, anew after a change, and that a machine without a compiler does without."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from palmetto.native import build

COMPILER = """#!/bin/sh
[ "$1" = --version ] && echo 'a compiler, version {version}' && exit 0
echo "$@" >> {log}
while [ "$1" != -o ]; do shift; done
echo {version} > "$2"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a compiler that only logs its calls in the place of the real one, and the cache into an empty folder."""
    use_compiler(tmp_path, "1")
    monkeypatch.setenv("CXX", str(tmp_path / "compiler"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "log"


def use_compiler(folder: Path, version: str) -> None:
    compiler = folder / "compiler"
    compiler.write_text(COMPILER.format(version=version, log=folder / "log"))
    compiler.chmod(stat.S_IRWXU)


def test_the_library_is_compiled_once_for_each_compiler(log: Path, tmp_path: Path) -> None:
    first, calls = build.build(), log.read_text()
    assert calls.count("-shared") == 1
    assert calls.count(" -c ") == len(list(build.KERNELS.glob("*.cc")))
    assert build.build() == first
    assert log.read_text() == calls
    use_compiler(tmp_path, "2")
    assert build.build() != first
    assert len(list((tmp_path / "cache" / "palmetto" / "native").iterdir())) == 2


def test_many_may_build_at_the_same_time(log: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: build.build(), range(4)))) == 1
    assert len(list((tmp_path / "cache" / "palmetto" / "native").iterdir())) == 1


def test_where_the_cache_cannot_be_written_a_temporary_folder_is_used(log: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert build.build().parent == tmp_path / "temporary" / f"palmetto-{os.getuid()}"


def test_what_the_compiler_says_is_the_reason(log: Path, tmp_path: Path) -> None:
    (tmp_path / "compiler").write_text("#!/bin/sh\necho 'x.cc:1: error: no such thing\nmore' >&2\nexit 1\n")
    with pytest.raises(build.NotBuilt, match=r"compiler cannot compile .*: x.cc:1: error: no such thing$"):
        build.build()


def test_without_a_compiler_there_is_no_library(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    with pytest.raises(build.NotBuilt, match="CXX=/nonexistent: no such compiler"):
        build.build()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.NotBuilt, match=r"no compiler \(g\+\+, clang\+\+, c\+\+\)"):
        build.build()


def test_a_library_that_will_be_compiled_is_known_to_be_missing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.is_missing()
    build.build()
    assert not build.is_missing()
    monkeypatch.setenv("CXX", "/nonexistent")
    assert not build.is_missing(), "it cannot be compiled"


def test_a_compiler_that_does_not_run_is_the_reason(log: Path, tmp_path: Path) -> None:
    (tmp_path / "compiler").write_text("no program")
    with pytest.raises(build.NotBuilt, match=r"compiler does not run: .*Exec format error"):
        build.build()


def test_the_compiler_may_have_arguments_and_spaces_in_its_path(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = tmp_path / "a b"
    spaced.mkdir()
    (tmp_path / "compiler").rename(spaced / "compiler")
    monkeypatch.setenv("CXX", f"'{spaced}/compiler' -pipe")
    assert build.build().exists()
    assert "-pipe" in log.read_text()


def test_a_user_without_a_home_has_a_temporary_folder(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("no home is known")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert build.build().parent == tmp_path / "temporary" / f"palmetto-{os.getuid()}"


def test_a_folder_in_which_others_may_write_is_not_used(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "palmetto" / "native"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert build.build().parent == tmp_path / "temporary" / f"palmetto-{os.getuid()}"
