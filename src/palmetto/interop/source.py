"""A checkpoint that is exported, read one weight at a time, so that no more than a tensor's weights are in memory."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from palmetto.interop.forms import Array
from palmetto.interop.rows import Tensor
from palmetto.interop.safetensors import TYPES
from palmetto.model.adapters import factors_of, merged
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import Table, logical_names
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import Manifest
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.origin import load_vocabulary


class Source:
    """Holds a run's recipe, its vocabulary and one of its checkpoints."""

    def __init__(self, run: RunDirectory, checkpoints: Checkpoints, step: int) -> None:
        """Checks every file of the checkpoint; raises CheckpointDamaged or UserError if one is not what was written."""
        self.run = run
        self._trained = run.recipe
        self.recipe: Recipe = self._trained.model_copy(
            update={"model": self._trained.model.model_copy(update={"lora": None})}
        )
        """The recipe of the model without adapters, which are added to its weights."""
        self.vocabulary: Vocabulary = load_vocabulary(run)
        self.manifest: Manifest = checkpoints.manifest(step)
        self.table: Table = parameter_table(self.recipe)
        self._rows = parameter_table(self._trained)
        self._checkpoints = checkpoints

    def rounded(self, dtype: str) -> dict[str, Array]:
        """Returns all logical matrices, float32 by name, those that are no vectors rounded to a float type.

        For int8 they are not rounded: the target itself chooses how.
        """
        found = ((name, self._matrix(name)) for name in logical_names(self.table))
        of = TYPES["float32" if dtype == "int8" else dtype][1]
        return {name: matrix.astype(of).astype(np.float32) if matrix.ndim > 1 else matrix for name, matrix in found}

    def values(self, tensor: Tensor) -> Array:
        """Returns the float32 values of a target's tensor."""
        return tensor.form.there([self._matrix(name) for name in tensor.matrices])

    def _matrix(self, name: str) -> Array:
        """Returns a logical matrix, with its adapter added if it has one."""
        weight, dot, index = name.partition(".")
        read = partial(self._checkpoints.matrix, self.manifest.step)
        lora = self._trained.model.lora
        factors = [factor for factor in factors_of(weight) if factor in self._rows]
        if lora is None or not factors:
            return read(name)
        found = {part: jnp.asarray(read(f"{part}{dot}{index}")) for part in (weight, *factors)}
        return np.asarray(merged(found, {weight: self.table[weight]}, lora)[weight])
