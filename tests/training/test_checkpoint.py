"""Checkpoints: the same bits back, every byte of them watched over, and nothing half written that looks whole."""

import json
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.model.weights import Parameters, Weight, unstack
from palmetto.runs import manifest as manifests
from palmetto.runs.manifest import CheckpointDamaged, Manifest
from palmetto.runs.register import Entry
from palmetto.training import checkpoint, orbax_messages
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.digest import tree
from palmetto.training.optimization import OptimizerState
from palmetto.training.step.loss_scale import LossScaleState
from palmetto.training.step.state import State

TABLE = {
    "embedding": Weight((5, 3), ("vocabulary", "width"), 1.0),
    "expert_up": Weight((2, 3, 3, 4), ("layers", "experts", "width", "feedforward"), 1.0, (1, 3)),
    "final_norm": Weight((3,), ("width",), None),
    "norm": Weight((4, 3), ("layers", "width"), None, (0, 1, 2, 3)),
    "q": Weight((4, 3, 4), ("layers", "width", "heads"), 1.0, (0, 1, 2, 3)),
}
MATRICES = ("embedding", "expert_up", "q")
FIELDS: dict[str, Any] = {"attempt": 1, "recipe": "a recipe", "tokens": "some tokens", "chain": "0123456789abcdef"}
ODD = np.array([0x80000000, 0x00000001, 0x7FC00001, 0xFF800000], np.uint32).view(np.float32)
"""−0, the least subnormal, a NaN with a payload, −∞: what a text format would lose."""


def some_state(seed: int, factored: bool = False, momentum: bool = True, scaled: bool = False) -> State:
    """A state with the moments that a choice of optimizer leaves, and a loss scale if `scaled`."""
    random = np.random.default_rng(seed)

    def arrays() -> Parameters:
        drawn = {name: random.normal(size=of.shape).astype(np.float32) for name, of in TABLE.items()}
        drawn["q"][1, 0] = ODD
        return {name: jnp.asarray(array) for name, array in drawn.items()}

    parameters, m, v = arrays(), arrays(), arrays()
    rows, columns = (
        {name: array.mean(axis) for name, array in v.items() if factored and name in MATRICES} for axis in (-1, -2)
    )
    v = {name: array for name, array in v.items() if name not in rows}
    loss_scale = LossScaleState(jnp.float32(2**seed), jnp.int32(seed)) if scaled else None
    moments = {"m": m if momentum else {}, "v": v, "rows": rows, "columns": columns}
    kept = {moment: of for moment, of in moments.items() if of}
    return State(parameters, OptimizerState(jnp.int32(seed), kept), loss_scale)


GLAM = {"factored": True, "momentum": False}


def bits(state: State) -> list[bytes]:
    return [np.asarray(array).tobytes() for array in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of steps 10 and 20, not to be changed for good."""
    checkpoints = Checkpoints(tmp_path_factory.mktemp("run") / "checkpoints", TABLE)
    for step in (10, 20):
        checkpoints.save(some_state(step), step=step, **FIELDS)
    checkpoints.wait()
    return checkpoints


@pytest.fixture
def copied(saved: Checkpoints, tmp_path: Path) -> Checkpoints:
    """The same for the test to spoil."""
    shutil.copytree(saved.path, tmp_path / "checkpoints")
    return Checkpoints(tmp_path / "checkpoints", TABLE)


def test_a_state_comes_back_to_the_bit(saved: Checkpoints) -> None:
    assert saved.steps() == [10, 20]
    for step in saved.steps():
        restored = saved.restore(step, like=some_state(0))
        assert bits(restored) == bits(some_state(step))
        assert [(a.shape, a.dtype) for a in jax.tree.leaves(restored)] == [
            (a.shape, a.dtype) for a in jax.tree.leaves(some_state(0))
        ]


def test_a_state_comes_back_in_another_process_that_knows_its_shapes_alone(copied: Checkpoints) -> None:
    shapes = jax.eval_shape(lambda: some_state(0))
    assert bits(copied.restore(20, like=shapes)) == bits(some_state(20))


def test_the_manifest_holds_the_fields_and_the_digests_of_the_logical_matrices(saved: Checkpoints) -> None:
    manifest, state = saved.manifest(20), some_state(20)
    assert {field: getattr(manifest, field) for field in FIELDS} == FIELDS
    assert manifest.step == 20
    assert (manifest.parameters, manifest.optimizer) == saved.digests(state)
    logical = {"embedding": state.parameters["embedding"], "final_norm": state.parameters["final_norm"]}
    for layer in range(4):
        logical |= {f"{name}.{layer:03d}": state.parameters[name][layer] for name in ("norm", "q")}
    for i, layer in enumerate((1, 3)):
        logical |= {f"expert_up.{layer:03d}.{e:03d}": state.parameters["expert_up"][i, e] for e in range(3)}
    assert manifest.parameters == tree(logical)
    moments = {
        f"{moment}/{name}": array
        for moment, arrays in state.optimizer.moments.items()
        for name, array in unstack(arrays, TABLE).items()
    }
    assert manifest.optimizer == tree(moments | {"k": state.optimizer.k})


@pytest.mark.parametrize("choice", [GLAM, {"scaled": True}])
def test_a_state_of_another_choice_comes_back_to_the_bit(tmp_path: Path, choice: dict[str, bool]) -> None:
    checkpoints, state = Checkpoints(tmp_path / "checkpoints", TABLE), some_state(7, **choice)
    checkpoints.save(state, step=7, **FIELDS)
    checkpoints.wait()
    restored = checkpoints.restore(7, like=jax.eval_shape(lambda: some_state(0, **choice)))
    assert jax.tree.map(jnp.shape, restored) == jax.tree.map(jnp.shape, state)
    assert bits(restored) == bits(state)
    manifest = checkpoints.manifest(7)
    assert (manifest.parameters, manifest.optimizer) == checkpoints.digests(restored)


def changed(state: State, part: str) -> State:
    """The state with one number changed in one part of it."""

    def change(tree: Any) -> Any:
        first, *others = jax.tree.leaves(tree)
        return jax.tree.unflatten(jax.tree.structure(tree), [first + 1, *others])

    k, moments = state.optimizer
    if part == "k":
        return state._replace(optimizer=OptimizerState(k + 1, moments))
    if part in moments:
        return state._replace(optimizer=OptimizerState(k, moments | {part: change(moments[part])}))
    if part in LossScaleState._fields:
        assert state.loss_scale is not None
        return state._replace(loss_scale=state.loss_scale._replace(**{part: getattr(state.loss_scale, part) + 1}))
    return state._replace(parameters=change(state.parameters))


@pytest.mark.parametrize("part", ["parameters", "k", "m", "v", "rows", "columns", *LossScaleState._fields])
def test_the_digests_tell_every_part_of_a_state(saved: Checkpoints, part: str) -> None:
    state = some_state(20, factored=True, scaled=True)
    both = zip(saved.digests(state), saved.digests(changed(state, part)), strict=True)
    assert [one != other for one, other in both] == [part == "parameters", part != "parameters"]


def test_the_digests_tell_moments_apart(saved: Checkpoints) -> None:
    state = some_state(20)
    k, moments = state.optimizer
    exchanged = state._replace(optimizer=OptimizerState(k, {"m": moments["v"], "v": moments["m"]}))
    assert saved.digests(state)[1] != saved.digests(exchanged)[1]


def without(state: State, name: str) -> State:
    return state._replace(parameters={key: array for key, array in state.parameters.items() if key != name})


@pytest.mark.parametrize(
    ("like", "told"),
    [
        (some_state(0, scaled=True), r"lacks loss_scale/good_steps"),
        (some_state(0, momentum=False), r"has m/embedding"),
        (some_state(0, factored=True), r"lacks columns/embedding"),
        (without(some_state(0), "final_norm"), r"has parameters/final_norm"),
    ],
)
def test_a_checkpoint_that_lacks_what_is_needed_or_has_more_is_refused_by_name(
    saved: Checkpoints, like: State, told: str
) -> None:
    with pytest.raises(UserError, match=rf"00000010/arrays: {told}, which this run's recipe"):
        saved.restore(10, like=like)


def test_an_array_of_another_shape_or_type_is_refused_by_name(saved: Checkpoints) -> None:
    like = some_state(0)
    for other, needed in ((jnp.zeros((5, 4)), "float32 [5, 4]"), (jnp.zeros((5, 3), jnp.bfloat16), "bfloat16 [5, 3]")):
        strange = like._replace(parameters=like.parameters | {"embedding": other})
        with pytest.raises(UserError) as caught:
            saved.restore(10, like=strange)
        assert f"parameters/embedding is float32 [5, 3]; this run's recipe needs {needed}" in str(caught.value)


def test_a_scaled_checkpoint_is_not_restored_without_its_scale(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)
    checkpoints.save(some_state(7, scaled=True), step=7, **FIELDS)
    checkpoints.wait()
    with pytest.raises(UserError, match="has loss_scale/good_steps"):
        checkpoints.restore(7, like=some_state(0))


def test_what_happens_to_the_state_after_save_does_not_enter(tmp_path: Path) -> None:
    checkpoints, state = Checkpoints(tmp_path / "checkpoints", TABLE), some_state(1)
    checkpoints.save(state, step=1, **FIELDS)
    for array in jax.tree.leaves(state):
        array.delete()  # as donating it to the next step does
    checkpoints.wait()
    assert checkpoints.manifest(1).step == 1
    assert bits(checkpoints.restore(1, like=some_state(0))) == bits(some_state(1))


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)
    for seed in (1, 2):
        checkpoints.save(some_state(seed), step=5, **FIELDS)
    checkpoints.wait()
    checkpoints.manifest(5)
    assert bits(checkpoints.restore(5, like=some_state(0))) == bits(some_state(2))


def files_of(checkpoints: Checkpoints, step: int) -> list[Path]:
    return sorted(path for path in (checkpoints.path / f"{step:08d}").rglob("*") if path.is_file())


@pytest.mark.parametrize("part", ["manifest.json", "arrays"])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_in_any_file_is_damage_and_the_file_named(
    saved: Checkpoints, part: str, data: st.DataObject
) -> None:
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


def exchange_for_another_steps(directory: Path) -> Path:
    shutil.copytree(directory.parent / "00000020" / "arrays", directory / "arrays", dirs_exist_ok=True)
    return directory / "arrays"


@pytest.mark.parametrize("spoil", [remove_a_file, add_a_file, truncate_a_file, exchange_for_another_steps])
def test_missing_further_cut_and_foreign_files_are_found(copied: Checkpoints, spoil: Callable[[Path], Path]) -> None:
    file = spoil(copied.path / "00000010")
    with pytest.raises(CheckpointDamaged) as caught:
        copied.manifest(10)
    assert str(file) in str(caught.value)
    copied.manifest(20)


def test_a_checkpoint_of_another_format_is_refused_by_name_and_is_not_damage(copied: Checkpoints) -> None:
    file = copied.path / "00000010" / "manifest.json"
    contents = json.loads(file.read_text()) | {"format": manifests.FORMAT + 1, "more": [1]}
    del contents["sha256"]
    file.write_text(json.dumps(contents | {"sha256": manifests._seal(contents)}, indent=1) + "\n")
    with pytest.raises(UserError, match=f"format {manifests.FORMAT + 1}.* reads {manifests.FORMAT}") as caught:
        copied.manifest(10)
    assert not isinstance(caught.value, CheckpointDamaged)
    assert "00000010" in str(caught.value)


@pytest.mark.parametrize("contents", ["{}", "[]", "3", '{"format": 1}'])
def test_what_is_no_manifest_is_damage(copied: Checkpoints, contents: str) -> None:
    (copied.path / "00000010" / "manifest.json").write_text(contents)
    with pytest.raises(CheckpointDamaged, match=r"00000010/manifest\.json"):
        copied.manifest(10)


def test_a_format_digit_that_has_flipped_is_damage(copied: Checkpoints) -> None:
    file = copied.path / "00000010" / "manifest.json"
    file.write_text(file.read_text().replace(f'"format": {manifests.FORMAT}', f'"format": {manifests.FORMAT + 1}'))
    with pytest.raises(CheckpointDamaged, match=r"00000010/manifest\.json: altered"):
        copied.manifest(10)


def forge(checkpoints: Checkpoints, step: int, **claims: Any) -> None:
    """Puts other parameters in a checkpoint, with hashes and a seal that fit; its digests stay unless `claims` say."""
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
    checkpoints.manifest(step)  # every file is as the manifest says


@pytest.mark.parametrize(
    ("claims", "what"), [({}, "its parameters"), ({"optimizer": "0" * 64}, "its parameters|its optimizer state")]
)
def test_a_forged_state_is_not_restored(copied: Checkpoints, claims: dict[str, str], what: str) -> None:
    forge(copied, 10, **claims)
    with pytest.raises(CheckpointDamaged, match=f"00000010: ({what}) have the digest"):
        copied.restore(10, like=some_state(0))
    copied.restore(20, like=some_state(0))


def test_a_folder_that_was_renamed_is_named_with_its_manifests_step(copied: Checkpoints) -> None:
    (copied.path / "00000010").rename(copied.path / "00000011")
    assert copied.steps() == [11, 20]
    with pytest.raises(CheckpointDamaged, match=r"00000011/manifest\.json: is of step 10, and its folder is named 11"):
        copied.manifest(11)


def test_only_names_of_steps_are_checkpoints_and_nothing_else_is_cleared_away(copied: Checkpoints) -> None:
    others = ["00000008-old", "damaged-00000009", "8", "2024", "٠٠٠٠٠٠٠٧", "notes"]
    for name in others:
        shutil.copytree(copied.path / "00000010", copied.path / name)
    (copied.path / "2025").mkdir()
    shutil.copytree(copied.path / "00000010", copied.path / "100000000")
    copied.clear_unfinished()
    assert copied.steps() == [10, 20, 100_000_000], "in the order of their numbers"
    assert {path.name for path in copied.path.iterdir()} >= {*others, "2025"}


def refuse(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a path one that may not be looked at, to root too."""

    def refused(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *others: Any, **more: Any) -> Any:
            if Path(first) == path or path in Path(first).parents:
                raise PermissionError(13, "Permission denied", str(first))
            return function(first, *others, **more)

        return call

    monkeypatch.setattr(os, "stat", refused(os.stat))
    monkeypatch.setattr(os, "listdir", refused(os.listdir))


@pytest.mark.parametrize("part", [".", "00000020", "00000020/manifest.json"])
def test_no_permission_is_not_the_same_as_no_checkpoint(
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
def test_a_link_that_leads_nowhere_is_not_the_same_as_no_checkpoint(copied: Checkpoints, part: str) -> None:
    path = copied.path / part
    path.rename(copied.path.parent / "away")
    path.symlink_to(copied.path.parent / "unmounted")
    for look in (copied.steps, copied.clear_unfinished):
        with pytest.raises(UserError, match=r"a link to .*unmounted, where nothing is"):
            look()
    path.unlink()
    (copied.path.parent / "away").rename(path)
    assert copied.steps() == [10, 20]


def test_the_record_beside_the_folder_knows_what_was_completed_and_deleted(tmp_path: Path) -> None:
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


def test_the_record_of_an_older_run_is_made_of_what_is_there(copied: Checkpoints) -> None:
    assert copied.register.read() is None
    (copied.path / "00000010" / "manifest.json").write_text("{")
    copied.record()
    assert copied.register.read() == {20: Entry(20, FIELDS["attempt"], FIELDS["chain"])}


@pytest.mark.parametrize("contents", ["{}", "[3]", '[{"step": 1}]', '[{"step": "1", "attempt": 0, "chain": ""}]', "{"])
def test_a_record_that_is_none_is_named(copied: Checkpoints, contents: str) -> None:
    copied.register.path.write_text(contents)
    with pytest.raises(UserError, match=r"checkpoints\.json: .*; without the file, the checkpoints that"):
        copied.missing()


def test_what_was_set_aside_before_stays(copied: Checkpoints) -> None:
    shutil.copytree(copied.path / "00000010", copied.path / "damaged-00000020")
    assert copied.set_aside(20).name == "damaged-00000020-2"
    assert (copied.path / "damaged-00000020" / "manifest.json").is_file()


def test_what_a_kill_left_half_written_is_no_checkpoint_and_is_cleared_away(copied: Checkpoints) -> None:
    (copied.path / "00000020" / "manifest.json").unlink()
    (copied.path / "00000030" / "arrays.orbax-checkpoint-tmp").mkdir(parents=True)
    (copied.path / "00000030" / ".manifest.json.abc").write_text("{")
    (copied.path / "damaged-00000005").mkdir()
    assert copied.steps() == [10]
    copied.clear_unfinished()
    assert sorted(path.name for path in copied.path.iterdir()) == ["00000010", "damaged-00000005"]
    copied.manifest(10)


def test_before_anything_is_saved_there_are_no_steps(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)
    checkpoints.clear_unfinished()
    checkpoints.wait()
    assert checkpoints.steps() == []


def test_a_deleted_checkpoint_is_gone_and_one_set_aside_is_kept_unused(copied: Checkpoints) -> None:
    copied.delete(10)
    assert copied.steps() == [20]
    aside = copied.set_aside(20)
    assert copied.steps() == []
    assert (aside / "manifest.json").is_file()
    copied.clear_unfinished()
    assert [path.name for path in copied.path.iterdir()] == [aside.name]


def test_a_write_that_failed_is_raised_by_wait_and_leaves_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)

    def fail(path: Path) -> str:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "sha256", fail)
        checkpoints.save(some_state(1), step=1, **FIELDS)
        with pytest.raises(UserError, match=r"00000001: the checkpoint could not be written \(the disk is full\)"):
            checkpoints.wait()
    assert checkpoints.steps() == []
    checkpoints.save(some_state(2), step=2, **FIELDS)
    checkpoints.wait()
    assert checkpoints.steps() == [2]


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be there before every file is, since it is what makes a checkpoint."""
    written: list[Manifest] = []

    def note(path: Path, text: str) -> None:
        arrays = path.parent / "arrays"
        present = {str(file.relative_to(arrays)) for file in arrays.rglob("*") if file.is_file()}
        assert set(json.loads(text)["files"]) == present
        assert not path.exists()
        written.append(json.loads(text))

    monkeypatch.setattr(checkpoint, "write_text", note)
    checkpoints = Checkpoints(tmp_path / "checkpoints", TABLE)
    checkpoints.save(some_state(1), step=1, **FIELDS)
    checkpoints.wait()
    assert len(written) == 1
    assert checkpoints.steps() == []


def check_until_it_raises(checkpoints: Checkpoints) -> None:
    for _ in range(6000):
        checkpoints.check()
        time.sleep(0.01)


def test_a_check_raises_what_has_failed_and_does_not_wait_for_what_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, full = Checkpoints(tmp_path / "checkpoints", TABLE), threading.Event()

    def fail_later(path: Path) -> str:
        full.wait()
        raise OSError("the disk is full")

    monkeypatch.setattr(manifests, "sha256", fail_later)
    checkpoints.check()
    checkpoints.save(some_state(1), step=1, **FIELDS)
    checkpoints.check()  # would hang if it waited
    full.set()
    with pytest.raises(UserError, match="the disk is full"):
        check_until_it_raises(checkpoints)
    checkpoints.check()
    checkpoints.wait()


def test_a_failed_write_is_told_in_a_line_with_the_file_and_the_reason_however_long_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path.joinpath(*["a" * 100] * 5) / "checkpoints"
    checkpoints = Checkpoints(directory, {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        noise = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)  # 256 KiB that do not compress
        monkeypatch.setattr(checkpoints, "_to_matrices", lambda state: {"parameters": {"q": jnp.asarray(noise)}})
        checkpoints.save(some_state(1), step=7, **FIELDS)
        with pytest.raises(UserError) as caught:
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = str(caught.value)
    assert told.startswith(f"{directory}/00000007: the checkpoint could not be written (")
    assert "arrays/ocdbt.process_0/d/" in told, "a name that it has only until it is whole"
    assert "File too large" in told
    assert told.count(str(directory)) == 1
    assert "\n" not in told


def test_an_endless_error_keeps_its_end_and_one_without_words_its_name(tmp_path: Path) -> None:
    for error, expected in (
        (OSError("x" * 1000 + " the disk is full\nat line 1"), f"(…{'x' * 282} the disk is full)"),
        (OSError("f: no room [spec='{\"a\": [1]}'] [source locations='b.cc:1'] [os_error_code='28']"), "(f: no room)"),
        (KeyError(), "(KeyError)"),
        (OSError(28, "No space left on device", f"{tmp_path}/arrays"), "([Errno 28] No space left on device: '"),
    ):
        with pytest.raises(UserError) as caught, orbax_messages.writing(tmp_path, 12345):
            raise error
        assert expected in str(caught.value)
        assert "with room on the disk for about 12,345 bytes, the same command" in str(caught.value)


def test_a_checkpoint_that_may_not_be_written_wants_permission_not_room(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught, orbax_messages.writing(tmp_path, 12345):
        raise PermissionError(13, "Permission denied", f"{tmp_path}/arrays")
    assert "with permission to write, the same command goes on" in str(caught.value)
    assert "room" not in str(caught.value)
