"""Digests of arrays that depend on their values alone, not on their layout in memory or over devices.

They form a tree: the digest of all matrices covers that of each, which covers those of its tiles (tiles.py). Runs begun
before tiles existed have flat digests, over the bytes of each matrix from end to end, and keep that form.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy.typing as npt

from palmetto.parallel.processes import on_host
from palmetto.training import tiles

Matrices = Mapping[str, jax.Array | npt.NDArray[Any]]
Digest = Callable[[Matrices], str]

TREE = "tree:"
"""The prefix of a digest over tiles; a flat digest is 64 hex digits without a prefix."""


def form_of(recorded: str | None) -> Digest:
    """Returns the function that `recorded` was computed with, or `tree` if it is None."""
    return tree if recorded is None or recorded.startswith(TREE) else flat


def tree(matrices: Matrices) -> str:
    """Returns "tree:" and the SHA-256 over name, type, shape and tiles of the matrices, in the order of their names.

    All processes of a cluster must call it together.
    """
    names = sorted(matrices)
    found = tiles.tables({name: matrices[name] for name in names})
    return TREE + _over({name: hashlib.sha256(found[name].data).hexdigest() for name in names}, matrices)


def flat(matrices: Matrices) -> str:
    """Returns the SHA-256 over name, type, shape and little-endian bytes of the matrices, in the order of their names.

    All processes of a cluster must call it together, and each gathers every matrix.
    """
    parts = {}
    for name in sorted(matrices):
        array = on_host(matrices[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        parts[name] = hashlib.sha256(array.tobytes()).hexdigest()
    return _over(parts, matrices)


def _over(parts: Mapping[str, str], matrices: Matrices) -> str:
    whole = hashlib.sha256()
    for name, part in parts.items():
        whole.update(f"{name} {matrices[name].dtype.name} {matrices[name].shape} {part}\n".encode())
    return whole.hexdigest()
