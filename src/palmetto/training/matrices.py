"""Conversion of a state to logical matrices, whose form in checkpoints and digests does not depend on memory layout."""

from typing import Any

import jax.numpy as jnp

from palmetto.model.weights import Table, restack, unstack
from palmetto.training.digest import Digest
from palmetto.training.optimization import RESERVED, OptimizerState
from palmetto.training.step.loss_scale import LossScaleState
from palmetto.training.step.state import State

Matrices = dict[str, Any]
"""{"parameters": {name: matrix}, "k": scalar}, for each moment of the optimizer its name with {name: matrix}, and
"loss_scale": {"scale": scalar, "good_steps": scalar} if the state has one."""


def to_matrices(state: State, table: Table) -> Matrices:
    """Returns a state as logical matrices, in new arrays."""
    matrices: Matrices = {"parameters": unstack(state.parameters, table), "k": jnp.copy(state.optimizer.k)}
    matrices |= {moment: unstack(arrays, table) for moment, arrays in state.optimizer.moments.items()}
    if state.loss_scale is not None:
        matrices["loss_scale"] = {name: jnp.copy(value) for name, value in state.loss_scale._asdict().items()}
    return matrices


def from_matrices(matrices: Matrices, table: Table) -> State:
    """Returns the state of logical matrices; the inverse of `to_matrices`."""
    moments = {part: restack(arrays, table) for part, arrays in matrices.items() if part not in RESERVED}
    loss_scale = LossScaleState(**matrices["loss_scale"]) if "loss_scale" in matrices else None
    return State(restack(matrices["parameters"], table), OptimizerState(matrices["k"], moments), loss_scale)


def digests(matrices: Matrices, form: Digest) -> tuple[str, str]:
    """Returns the digest of the parameters and the digest of optimizer state and loss scale."""
    others = {part: arrays for part, arrays in matrices.items() if part != "parameters"}
    return form(matrices["parameters"]), form(flat(others))


def flat(matrices: Matrices) -> dict[str, Any]:
    """Returns the arrays in one dictionary, by their full names: {"m/q.003": …, "k": …}."""
    arrays: dict[str, Any] = {}
    for part, value in matrices.items():
        if isinstance(value, dict):
            arrays |= {f"{part}/{name}": array for name, array in value.items()}
        else:
            arrays[part] = value
    return arrays
