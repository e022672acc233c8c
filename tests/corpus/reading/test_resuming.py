"""Tests that extraction gives the same documents however it is divided and interrupted."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palmetto.corpus.reading import extraction
from tests.references.extractions import SOURCES, done, files


def test_the_same_bytes_with_any_number_of_workers_and_anywhere(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = done(mixed, tmp_path / "one", SOURCES, failures=0.4)
    two, _ = done(mixed, tmp_path / "two", SOURCES, workers=2, failures=0.4)
    moved = mixed.rename(tmp_path / "moved")
    os.utime(moved / "books" / "a.txt", (1, 1))
    three, _ = done(moved, tmp_path / "three", SOURCES, failures=0.4)
    assert files(one) == files(two) == files(three)
    assert one.done.digest == two.done.digest == three.done.digest
    # Other shards hold the same documents.
    monkeypatch.setattr(extraction, "SHARD_BYTES", 1000)
    small, _ = done(moved, tmp_path / "small", SOURCES, failures=0.4)
    assert len(small.view.shards) > len(one.view.shards)
    rows = [[row for shard in each.view.shards for row in each.view.read(shard).to_pylist()] for each in (one, small)]
    assert rows[0] == rows[1]


def test_only_changed_work_is_done_again(mixed: Path, tmp_path: Path) -> None:
    first, _ = done(mixed, tmp_path / "out", SOURCES, failures=0.4)
    times = {shard: (first.view.texts / f"{shard}.parquet").stat().st_mtime_ns for shard in first.view.shards}
    again, _ = done(mixed, tmp_path / "out", SOURCES, failures=0.4)
    assert {shard: (again.view.texts / f"{shard}.parquet").stat().st_mtime_ns for shard in again.view.shards} == times
    assert (again.problems, again.passed, again.done) == (first.problems, first.passed, first.done)
    (mixed / "books" / "a.txt").write_text("Another.")
    other, _ = done(mixed, tmp_path / "out", SOURCES, failures=0.7)
    assert other.done.digest != first.done.digest
    assert not first.done.folder.exists()


def test_a_temporary_failure_is_retried(mixed: Path, tmp_path: Path) -> None:
    whole, _ = done(mixed, tmp_path / "whole", {"books": {"paths": ["books"]}}, failures=0.9)
    missing = Path.open

    def failing(path: Path, *others: Any, **named: Any) -> Any:
        if path.name == "a.txt":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return missing(path, *others, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", failing)
        part, _ = done(mixed, tmp_path / "out", {"books": {"paths": ["books"]}}, failures=0.99)
    without = files(part)
    assert ("books/a.txt", True) in [(problem.name, problem.may_pass) for problem in part.problems]
    again, _ = done(mixed, tmp_path / "out", {"books": {"paths": ["books"]}}, failures=0.9)
    assert files(again) == files(whole) != without
    assert again.done.digest == whole.done.digest != part.done.digest
    assert again.problems == whole.problems


ROOT = Path(__file__).resolve().parents[3]
_BUILD = """
import json, os, signal, sys
from pathlib import Path
from palmetto.corpus.reading import extraction
from palmetto.corpus.engine import LocalEngine
from palmetto.errors import UserError
from palmetto.recipe.corpus import Build
root, out, shard_bytes, kill_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
extraction.SHARD_BYTES = shard_bytes
write = extraction.tables.write
written = 0
def counted(*arguments, **named):
    global written
    if written == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    written += 1
    write(*arguments, **named)
extraction.tables.write = counted
try:
    recipe = Build.model_validate(json.loads(sys.argv[5]))
    extracted = extraction.extract(recipe, 1 << 20, out, LocalEngine(1), lambda line: None)
except UserError as error:
    sys.exit(str(error))
print(written, extracted.done.digest)
"""


def run_build(
    root: Path, out: Path, shard_bytes: int, kill_at: int = -1, before: str = ""
) -> subprocess.CompletedProcess[str]:
    values = json.dumps({"root": str(root), "failures": 0.4, "sources": SOURCES})
    command = [sys.executable, "-c", _BUILD, str(root), str(out), str(shard_bytes), str(kill_at), values]
    if before:
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{before} && exec "$@"', "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_killed_extraction_resumes_to_the_same_bytes(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "SHARD_BYTES", 1000)
    expected, _ = done(mixed, tmp_path / "whole", SOURCES, failures=0.4)
    shards = len(expected.view.shards)
    assert run_build(mixed, tmp_path / "out", 1000, kill_at=3).returncode == -9
    result = run_build(mixed, tmp_path / "out", 1000)
    written, digest = result.stdout.split()
    assert digest == expected.done.digest
    assert 0 < int(written) < shards
    texts = tmp_path / "out" / expected.done.folder.name / "texts"
    assert {shard: (texts / f"{shard}.parquet").read_bytes() for shard in expected.view.shards} == files(expected)


def test_a_full_disk_is_one_line_and_can_be_resumed(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for number in range(40):
        (mixed / "books" / f"more{number:02}.txt").write_bytes(os.urandom(20_000).hex().encode())
    small = run_build(mixed, out, 100_000, before=f"mount -t tmpfs -o size=300k none {out}")
    if "unshare" in small.stderr or "mount" in small.stderr:
        pytest.skip("this system lets nobody mount a small disk")
    assert small.returncode == 1
    (line,) = small.stderr.splitlines()
    assert line.startswith(f"{out}/extraction-")
    assert "the disk is full" in line
    assert run_build(mixed, out, 100_000).returncode == 0
