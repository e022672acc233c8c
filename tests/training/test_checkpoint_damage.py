"""Damage of any byte or file of a checkpoint is detected and named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.runs import manifest as manifests
from palmetto.runs.manifest import CheckpointDamaged
from palmetto.training.checkpoint import Checkpoints
from tests.references.checkpoint_states import FIELDS, TABLE, files_of, some_state


@pytest.mark.parametrize("part", ["manifest.json", "arrays"])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_damage_that_names_its_file(saved: Checkpoints, part: str, data: st.DataObject) -> None:
    files = [f for f in files_of(saved, 10) if part in f.parts and f.stat().st_size]
    file = data.draw(st.sampled_from(files))
    whole = file.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[position]))
    try:
        file.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
        with pytest.raises(CheckpointDamaged) as caught:
            saved.manifest(10)
        assert str(file) in str(caught.value)
    finally:
        file.write_bytes(whole)


def remove_a_file(directory: Path) -> Path:
    file = next(path for path in sorted((directory / "arrays").rglob("*")) if path.is_file())
    file.unlink()
    return file


def add_a_file(directory: Path) -> Path:
    file = directory / "arrays" / "more"
    file.write_bytes(b"")
    return file


def truncate_a_file(directory: Path) -> Path:
    file = max((path for path in (directory / "arrays").rglob("*") if path.is_file()), key=lambda f: f.stat().st_size)
    os.truncate(file, file.stat().st_size - 1)
    return file


def exchange_with_another_step(directory: Path) -> Path:
    shutil.copytree(directory.parent / "00000020" / "arrays", directory / "arrays", dirs_exist_ok=True)
    return directory / "arrays"


@pytest.mark.parametrize("spoil", [remove_a_file, add_a_file, truncate_a_file, exchange_with_another_step])
def test_missing_additional_truncated_and_foreign_files_are_damage(
    copied: Checkpoints, spoil: Callable[[Path], Path]
) -> None:
    file = spoil(copied.path / "00000010")
    with pytest.raises(CheckpointDamaged) as caught:
        copied.manifest(10)
    assert str(file) in str(caught.value)
    copied.manifest(20)


def test_another_format_is_refused_but_is_not_damage(copied: Checkpoints) -> None:
    file = copied.path / "00000010" / "manifest.json"
    contents = json.loads(file.read_text()) | {"format": manifests.FORMAT + 1, "more": [1]}
    del contents["sha256"]
    file.write_text(json.dumps(contents | {"sha256": manifests._seal(contents)}, indent=1) + "\n")
    with pytest.raises(UserError, match=f"format {manifests.FORMAT + 1}.* reads {manifests.FORMAT}") as caught:
        copied.manifest(10)
    assert not isinstance(caught.value, CheckpointDamaged)
    assert "00000010" in str(caught.value)


@pytest.mark.parametrize("contents", ["{}", "[]", "3", '{"format": 1}'])
def test_an_invalid_manifest_is_damage(copied: Checkpoints, contents: str) -> None:
    (copied.path / "00000010" / "manifest.json").write_text(contents)
    with pytest.raises(CheckpointDamaged, match=r"00000010/manifest\.json"):
        copied.manifest(10)


def test_a_changed_format_number_is_damage(copied: Checkpoints) -> None:
    file = copied.path / "00000010" / "manifest.json"
    file.write_text(file.read_text().replace(f'"format": {manifests.FORMAT}', f'"format": {manifests.FORMAT + 1}'))
    with pytest.raises(CheckpointDamaged, match=r"00000010/manifest\.json: altered"):
        copied.manifest(10)


def forge(checkpoints: Checkpoints, step: int, **claims: Any) -> None:
    """Replaces the parameters of a checkpoint, its hashes and seal; `claims` override fields of its manifest."""
    honest = checkpoints.manifest(step)
    state = some_state(step)
    embedding = state.parameters["embedding"] * 1.5
    elsewhere = Checkpoints(checkpoints.path.with_name("forged"), TABLE)
    elsewhere.save(state._replace(parameters=state.parameters | {"embedding": embedding}), step=step, **FIELDS)
    elsewhere.wait()
    forged, directory = elsewhere.manifest(step), checkpoints.path / f"{step:08d}"
    shutil.rmtree(directory)
    shutil.move(elsewhere.path / f"{step:08d}", directory)
    (directory / "manifest.json").write_text(manifests.render(honest._replace(files=forged.files, **claims)))
    checkpoints.manifest(step)  # every file matches the manifest


@pytest.mark.parametrize(
    ("claims", "what"), [({}, "its parameters"), ({"optimizer": "0" * 64}, "its parameters|its optimizer state")]
)
def test_a_forged_state_is_not_restored(copied: Checkpoints, claims: dict[str, str], what: str) -> None:
    forge(copied, 10, **claims)
    with pytest.raises(CheckpointDamaged, match=f"00000010: ({what}) have the digest"):
        copied.restore(10, like=some_state(0))
    copied.restore(20, like=some_state(0))


def test_a_renamed_folder_is_damage_that_names_both_steps(copied: Checkpoints) -> None:
    (copied.path / "00000010").rename(copied.path / "00000011")
    assert copied.steps() == [11, 20]
    with pytest.raises(CheckpointDamaged, match=r"00000011/manifest\.json: is of step 10, and its folder is named 11"):
        copied.manifest(11)
