"""States of a small model, and the fields and files of their checkpoints."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.model.weights import Parameters, Weight
from palmetto.training.checkpoint import Checkpoints
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
"""Values that a text format would lose: −0, the least subnormal, a NaN with a payload, and −∞."""


def some_state(seed: int, factored: bool = False, momentum: bool = True, scaled: bool = False) -> State:
    """Returns a random state with the moments of the chosen optimizer, and a loss scale if `scaled`."""
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
    """Returns the bytes of every array of a state."""
    return [np.asarray(array).tobytes() for array in jax.tree.leaves(state)]


def files_of(checkpoints: Checkpoints, step: int) -> list[Path]:
    """Returns the files of a checkpoint."""
    return sorted(path for path in (checkpoints.path / f"{step:08d}").rglob("*") if path.is_file())
