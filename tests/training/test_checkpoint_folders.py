"""The folders of checkpoints: which are complete, missing, incomplete, set aside or inaccessible."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.runs.register import Entry
from palmetto.training.checkpoint import Checkpoints
from tests.references.checkpoint_states import FIELDS, TABLE, files_of, some_state


def test_only_folders_named_by_steps_are_checkpoints(copied: Checkpoints) -> None:
    others = ["00000008-old", "damaged-00000009", "8", "2024", "٠٠٠٠٠٠٠٧", "notes"]
    for name in others:
        shutil.copytree(copied.path / "00000010", copied.path / name)
    (copied.path / "2025").mkdir()
    shutil.copytree(copied.path / "00000010", copied.path / "100000000")
    copied.clear_unfinished()
    assert copied.steps() == [10, 20, 100_000_000], "in the order of their numbers"
    assert {path.name for path in copied.path.iterdir()} >= {*others, "2025"}


def refuse(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Denies access to a path, even for root."""

    def refused(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *others: Any, **more: Any) -> Any:
            if Path(first) == path or path in Path(first).parents:
                raise PermissionError(13, "Permission denied", str(first))
            return function(first, *others, **more)

        return call

    monkeypatch.setattr(os, "stat", refused(os.stat))
    monkeypatch.setattr(os, "listdir", refused(os.listdir))


@pytest.mark.parametrize("part", [".", "00000020", "00000020/manifest.json"])
def test_a_checkpoint_without_permission_is_not_missing(
    copied: Checkpoints, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    whole = files_of(copied, 20)
    refuse(copied.path / part, monkeypatch)
    for look in (copied.steps, copied.clear_unfinished):
        with pytest.raises(UserError, match="Permission denied") as caught:
            look()
        assert str(copied.path / part) in str(caught.value)
    monkeypatch.undo()
    assert files_of(copied, 20) == whole


@pytest.mark.parametrize("part", [".", "00000020", "00000020/manifest.json"])
def test_a_dangling_link_is_not_a_missing_checkpoint(copied: Checkpoints, part: str) -> None:
    path = copied.path / part
    path.rename(copied.path.parent / "away")
    path.symlink_to(copied.path.parent / "unmounted")
    for look in (copied.steps, copied.clear_unfinished):
        with pytest.raises(UserError, match=r"a link to .*unmounted, where nothing is"):
            look()
    path.unlink()
    (copied.path.parent / "away").rename(path)
    assert copied.steps() == [10, 20]


def test_the_register_knows_which_checkpoints_are_missing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)
    for step in (10, 20, 30):
        checkpoints.save(some_state(1), step=step, **FIELDS)
    checkpoints.wait()
    checkpoints.delete(10)
    assert checkpoints.missing() == []
    shutil.rmtree(checkpoints.path / "00000020")
    (checkpoints.path / "00000030" / "manifest.json").unlink()
    again = Checkpoints(tmp_path / "checkpoints", TABLE)
    assert again.missing() == [Entry(step, FIELDS["attempt"], FIELDS["chain"]) for step in (20, 30)]
    again.clear_unfinished()
    assert again.lost_its_manifest(30), "it was complete once, and is not cleared away"
    again.set_aside(30)
    (again.path / "damaged-00000020").mkdir()
    assert again.missing() == []


def test_an_older_run_gets_a_register_of_its_checkpoints(copied: Checkpoints) -> None:
    assert copied.register.read() is None
    (copied.path / "00000010" / "manifest.json").write_text("{")
    copied.record()
    assert copied.register.read() == {20: Entry(20, FIELDS["attempt"], FIELDS["chain"])}


@pytest.mark.parametrize("contents", ["{}", "[3]", '[{"step": 1}]', '[{"step": "1", "attempt": 0, "chain": ""}]', "{"])
def test_an_invalid_register_is_refused_by_name(copied: Checkpoints, contents: str) -> None:
    copied.register.path.write_text(contents)
    with pytest.raises(UserError, match=r"checkpoints\.json: .*; without the file, the checkpoints that"):
        copied.missing()


def test_setting_aside_keeps_earlier_damaged_folders(copied: Checkpoints) -> None:
    shutil.copytree(copied.path / "00000010", copied.path / "damaged-00000020")
    assert copied.set_aside(20).name == "damaged-00000020-2"
    assert (copied.path / "damaged-00000020" / "manifest.json").is_file()


def test_incomplete_checkpoints_of_a_killed_run_are_removed(copied: Checkpoints) -> None:
    (copied.path / "00000020" / "manifest.json").unlink()
    (copied.path / "00000030" / "arrays.orbax-checkpoint-tmp").mkdir(parents=True)
    (copied.path / "00000030" / ".manifest.json.abc").write_text("{")
    (copied.path / "damaged-00000005").mkdir()
    assert copied.steps() == [10]
    copied.clear_unfinished()
    assert sorted(path.name for path in copied.path.iterdir()) == ["00000010", "damaged-00000005"]
    copied.manifest(10)


def test_a_new_run_has_no_checkpoints(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)
    checkpoints.clear_unfinished()
    checkpoints.wait()
    assert checkpoints.steps() == []


def test_deleted_checkpoints_are_removed_and_damaged_ones_kept(copied: Checkpoints) -> None:
    copied.delete(10)
    assert copied.steps() == [20]
    aside = copied.set_aside(20)
    assert copied.steps() == []
    assert (aside / "manifest.json").is_file()
    copied.clear_unfinished()
    assert [path.name for path in copied.path.iterdir()] == [aside.name]
