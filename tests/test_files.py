"""Files are written whole or not at all, and errors name them."""

import errno
import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto import files
from palmetto.errors import RunStopped, UserError
from palmetto.json_lines import JsonLines


def test_an_atomic_write_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for data in (b"one", b"two"):
        files.write_bytes(path, data)
        assert path.read_bytes() == data
        assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail() -> None:
        with files.atomic(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    with files.atomic(tmp_path / "file") as file:
        file.write(b"x" * 100_000)
        file.flush()
        assert not (tmp_path / "file").exists()
        assert len(list(tmp_path.iterdir())) == 1, "the temporary file is on the same disk, so that it can be renamed"
    assert (tmp_path / "file").stat().st_size == 100_000


@pytest.mark.parametrize("linked", [False, True])
def test_devices_and_pipes_are_never_replaced(tmp_path: Path, linked: bool) -> None:
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    with pytest.raises(UserError, match=f"^{path}: a device, a pipe or a socket; "):
        files.write_text(path, "new")
    assert pipe.is_fifo()
    assert path.is_symlink() == linked


def test_a_kill_during_a_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")
    program = (
        "import os, signal, sys; from pathlib import Path; from palmetto import files\n"
        "with files.atomic(Path(sys.argv[1])) as file:\n"
        "    file.write(b'new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert path.read_text() == "old"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_in_the_middle_of_writes_leaves_nothing_else(tmp_path: Path, number: signal.Signals) -> None:
    files.write_text(tmp_path / "one", "old")
    program = (
        "import os, signal, sys; from pathlib import Path; from palmetto import files\n"
        "one, two = Path(sys.argv[1]) / 'one', Path(sys.argv[1]) / 'two'\n"
        "with files.atomic(one) as file:\n"
        "    file.write(b'new'); file.flush()\n"
        "    files.write_text(two, 'whole')\n"
        "    with files.atomic(two):\n"
        "        os.kill(os.getpid(), int(sys.argv[2]))"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(int(number))], check=False)
    assert ended.returncode == -number
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "old", "two": "whole"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_removes_a_temporary_folder(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import os, sys; from pathlib import Path; from palmetto import files\n"
        "with files.temporary_folder(inside=Path(sys.argv[1])) as folder:\n"
        "    (folder / 'inner').mkdir(); (folder / 'inner' / 'file').write_text('half')\n"
        "    os.kill(os.getpid(), int(sys.argv[2]))"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(int(number))], check=False)
    assert ended.returncode == -number
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler])
def test_signal_handlers_stay_while_a_file_is_written(handler: signal.Handlers, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with files.atomic(tmp_path / "file"):
            assert signal.getsignal(signal.SIGTERM) == handler
        assert signal.getsignal(signal.SIGTERM) == handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_thread_may_write_files(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(files.write_text, tmp_path / "file", "text").result()


def test_json_is_read_back_and_is_utf_8(tmp_path: Path) -> None:
    value = {"ä": [1, 2.5, None, True], "name": "é\n"}
    files.write_json(tmp_path / "value.json", value)
    assert files.read_json(tmp_path / "value.json") == value
    assert "ä" in (tmp_path / "value.json").read_bytes().decode()


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"{} {}"])
def test_missing_and_invalid_json_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match=r"value\.json: no such file"):
        files.read_json(tmp_path / "value.json")
    (tmp_path / "value.json").write_bytes(data)
    with pytest.raises(UserError, match=r"value\.json: not JSON"):
        files.read_json(tmp_path / "value.json")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert files.sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_bytes_are_durable_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut, a renamed file must not lack its bytes."""
    calls: list[str] = []

    def note(name: str) -> None:
        real = getattr(os, name)

        def noted(*arguments: Any) -> None:
            calls.append(name)
            real(*arguments)

        monkeypatch.setattr(os, name, noted)

    note("fsync")
    note("replace")
    files.write_text(tmp_path / "file", "text")
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_file_and_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "summary.json"
    files.write_text(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(files.DiskFull) as caught:
        files.write_bytes(path, b"x" * 12345)
    assert caught.value.filename == str(path)
    wanted = "the disk is full: at least {} bytes are wanted and [0-9,]+ bytes are free"
    assert re.fullmatch(wanted.format("12,345"), str(caught.value.strerror))

    def write() -> None:
        with files.room(tmp_path), files.atomic(path) as file:
            file.write(b"unknown")

    with pytest.raises(RunStopped, match=rf"^{path}: {wanted.format(7)}; make room and start again"):
        write()
    with pytest.raises(files.DiskFull, match=r"the disk is full: [0-9,]+ bytes are free: '.*lines.jsonl'"):
        JsonLines(tmp_path / "lines.jsonl").sync()
    assert path.read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"summary.json", "lines.jsonl"}


def test_an_error_names_the_file_with_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library makes temporary names absolute."""
    monkeypatch.chdir(tmp_path)

    def denied(prefix: str, dir: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{dir.absolute()}/{prefix}x8t_2a")

    monkeypatch.setattr(tempfile, "mkstemp", denied)
    with pytest.raises(PermissionError, match=r"'stages/tokens\.json'$"):
        files.write_text(Path("stages/tokens.json"), "new")


@pytest.mark.parametrize("call", ["mkstemp", "replace", "chmod"])
def test_an_error_never_names_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def denied(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{tmp_path}/.summary.json.x8t_2a")

    monkeypatch.setattr(tempfile if call == "mkstemp" else os, call, denied)
    with pytest.raises(PermissionError) as caught:
        files.write_text(tmp_path / "summary.json", "new")
    assert str(caught.value) == f"[Errno 13] Permission denied: '{tmp_path}/summary.json'"
    assert list(tmp_path.iterdir()) == []


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"other\.txt"), files.atomic(tmp_path / "file") as file:
        file.write((tmp_path / "other.txt").read_bytes())


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("\ud83d\ude00\udcff")))
def test_any_text_has_bytes(text: str) -> None:
    data = files.text_bytes(text)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert data == text.encode()
    assert files.text_bytes(data.decode("utf-8", "surrogateescape")) == data


def test_surrogates_have_bytes() -> None:
    assert files.text_bytes("é\udcff \ud83d!") == b"\xc3\xa9\xff \xed\xa0\xbd!"
