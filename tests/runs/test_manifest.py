"""A checkpoint's manifest is checked when it is read, and files are compared with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.runs import manifest as manifests
from palmetto.runs.manifest import CheckpointDamaged, Manifest, check_files, digests_of, read_manifest, render


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    (tmp_path / "arrays" / "d").mkdir(parents=True)
    (tmp_path / "arrays" / "d" / "0").write_bytes(b"data")
    (tmp_path / "arrays" / "index").write_bytes(b"index")
    return tmp_path / "arrays"


@pytest.fixture
def manifest(arrays: Path) -> Manifest:
    return Manifest(8, 0, "recipe", "tokens", "chain", "tree:parameters", "tree:optimizer", digests_of(arrays))


def test_what_was_written_is_read_back(tmp_path: Path, arrays: Path, manifest: Manifest) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(render(manifest))
    assert read_manifest(file, 8) == manifest
    assert manifest.files.keys() == {"d/0", "index"}
    check_files(arrays, manifest)


@pytest.mark.parametrize(
    "forged",
    [{"step": "8"}, {"step": True}, {"attempt": None}, {"chain": 3}, {"files": []}, {"files": {"index": 1}}, {"x": 1}],
)
def test_a_sealed_manifest_of_another_shape_is_damage(tmp_path: Path, manifest: Manifest, forged: Any) -> None:
    file = tmp_path / "manifest.json"
    contents = json.loads(render(manifest)) | forged
    del contents["sha256"]
    file.write_text(json.dumps(contents | {"sha256": manifests._seal(contents)}, indent=1) + "\n")
    with pytest.raises(CheckpointDamaged, match=r"manifest\.json: not a checkpoint's manifest"):
        read_manifest(file, 8)


@pytest.mark.parametrize(
    ("was", "now"),
    [('"step": 8', '"step": 9'), ("tree:p", "tree:q"), ('"format": ', '"format": 1'), ("\n}\n", "\n}\n\n")],
)
def test_a_manifest_that_was_altered_is_damage(tmp_path: Path, manifest: Manifest, was: str, now: str) -> None:
    file = tmp_path / "manifest.json"
    assert was in render(manifest)
    file.write_text(render(manifest).replace(was, now))
    with pytest.raises(CheckpointDamaged, match=r"manifest\.json: altered since it was written"):
        read_manifest(file, 8)


def alter(arrays: Path) -> None:
    (arrays / "index").write_bytes(b"other")


def remove(arrays: Path) -> None:
    (arrays / "d" / "0").unlink()


def add(arrays: Path) -> None:
    (arrays / "d" / "1").touch()


@pytest.mark.parametrize("ruin", [alter, remove, add])
def test_changed_missing_and_additional_files_are_damage(
    arrays: Path, manifest: Manifest, ruin: Callable[[Path], None]
) -> None:
    ruin(arrays)
    with pytest.raises(CheckpointDamaged, match=r"arrays/(index: altered|d/0: missing|d/1: missing)"):
        check_files(arrays, manifest)


def test_files_on_an_unmounted_disk_are_not_damage(arrays: Path, manifest: Manifest) -> None:
    """A damaged checkpoint would be set aside, and the ledger cut to the one before."""
    disk = arrays.with_name("disk")
    for part in (arrays / "d", arrays / "index", arrays):
        part.rename(disk)
        part.symlink_to(disk)
        check_files(arrays, manifest)
        disk.rename(disk.with_name("away"))
        with pytest.raises(UserError, match=r"a link to .*disk, where nothing is") as caught:
            check_files(arrays, manifest)
        assert not isinstance(caught.value, CheckpointDamaged)
        part.unlink()
        disk.with_name("away").rename(part)


def test_a_folder_that_cannot_be_read_is_not_damage(
    arrays: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError):
        check_files(arrays, manifest)
