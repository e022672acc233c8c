"""Tests exports to addresses and imports from them."""

import json
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.interop import importing, remote
from palmetto.interop.export import export
from palmetto.interop.folder import MARK
from palmetto.runs.directory import RunDirectory
from tests.references import exported

fsspec = pytest.importorskip("fsspec", reason="needs the extra interop")


def test_an_export_goes_to_an_address_and_back(tmp_path: Path) -> None:
    run, address = exported.made(tmp_path / "run", exported.recipe({})), "memory://models/tiny"
    with remote.target(address) as folder:
        export(run, "huggingface", folder, None, "float32")
    there = fsspec.filesystem("memory")
    written = json.loads(there.cat_file("/models/tiny/" + MARK))["files"]
    assert {path.removeprefix("/models/tiny/") for path in there.find("/models/tiny")} == {*written, MARK}
    imported = RunDirectory(tmp_path / "again")
    with remote.source(address) as folder:
        importing.make(folder, imported)
    assert imported.newest_manifest is not None
    assert run.newest_manifest is not None
    assert imported.newest_manifest.parameters == run.newest_manifest.parameters
    with pytest.raises(UserError, match="holds files; expected an address where nothing is"), remote.target(address):
        pass


def test_a_failure_leaves_nothing_at_the_address() -> None:
    target = remote.target("memory://models/failed")
    folder = target.__enter__()
    folder.mkdir()
    (folder / "half").write_text("a")
    assert not target.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert not fsspec.filesystem("memory").exists("/models/failed")


def test_a_copy_that_fails_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, there = exported.made(tmp_path / "run", exported.recipe({})), fsspec.filesystem("memory")
    address, put = "memory://models/half", type(there).put_file

    def fail(system: Any, local: str, path: str) -> None:
        put(system, local, path)
        if path.endswith("config.json"):
            raise ConnectionError("lost")

    monkeypatch.setattr(type(there), "put_file", fail)
    with pytest.raises(UserError, match="models/half: ConnectionError: lost"), remote.target(address) as folder:
        export(run, "huggingface", folder, None, "float32")
    assert there.find("/models/half") == []
    monkeypatch.undo()
    with remote.target(address) as folder:
        export(run, "huggingface", folder, None, "float32")


def test_addresses_that_cannot_be_used_are_named() -> None:
    with pytest.raises(UserError, match="nowhere://a: ValueError: Protocol not known"), remote.target("nowhere://a"):
        pass
    with pytest.raises(UserError, match="memory://models/absent: nothing is there"):
        remote.source("memory://models/absent").__enter__()
