"""Checkpoints are restored to the bit, and refused for a recipe that they do not fit."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from palmetto.errors import UserError
from palmetto.model.weights import unstack
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.digest import tree
from palmetto.training.optimization import OptimizerState
from palmetto.training.step.loss_scale import LossScaleState
from palmetto.training.step.state import State
from tests.references.checkpoint_states import FIELDS, GLAM, TABLE, bits, some_state


def test_a_state_is_restored_to_the_bit(saved: Checkpoints) -> None:
    assert saved.steps() == [10, 20]
    for step in saved.steps():
        restored = saved.restore(step, like=some_state(0))
        assert bits(restored) == bits(some_state(step))
        assert [(a.shape, a.dtype) for a in jax.tree.leaves(restored)] == [
            (a.shape, a.dtype) for a in jax.tree.leaves(some_state(0))
        ]


def test_a_state_is_restored_from_its_shapes_alone(copied: Checkpoints) -> None:
    shapes = jax.eval_shape(lambda: some_state(0))
    assert bits(copied.restore(20, like=shapes)) == bits(some_state(20))


def test_the_manifest_holds_fields_and_digests_of_matrices(saved: Checkpoints) -> None:
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
def test_a_state_of_other_settings_is_restored_to_the_bit(tmp_path: Path, choice: dict[str, bool]) -> None:
    checkpoints, state = Checkpoints(tmp_path / "checkpoints", TABLE), some_state(7, **choice)
    checkpoints.save(state, step=7, **FIELDS)
    checkpoints.wait()
    restored = checkpoints.restore(7, like=jax.eval_shape(lambda: some_state(0, **choice)))
    assert jax.tree.map(jnp.shape, restored) == jax.tree.map(jnp.shape, state)
    assert bits(restored) == bits(state)
    manifest = checkpoints.manifest(7)
    assert (manifest.parameters, manifest.optimizer) == checkpoints.digests(restored)


def changed(state: State, part: str) -> State:
    """Returns the state with one number changed in `part`."""

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
def test_digests_cover_every_part_of_a_state(saved: Checkpoints, part: str) -> None:
    state = some_state(20, factored=True, scaled=True)
    both = zip(saved.digests(state), saved.digests(changed(state, part)), strict=True)
    assert [one != other for one, other in both] == [part == "parameters", part != "parameters"]


def test_digests_distinguish_moments(saved: Checkpoints) -> None:
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
def test_missing_and_additional_arrays_are_refused_by_name(saved: Checkpoints, like: State, told: str) -> None:
    with pytest.raises(UserError, match=rf"00000010/arrays: {told}, which this run's recipe"):
        saved.restore(10, like=like)


def test_an_array_of_another_shape_or_type_is_refused(saved: Checkpoints) -> None:
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


def test_a_state_may_be_deleted_right_after_save(tmp_path: Path) -> None:
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
