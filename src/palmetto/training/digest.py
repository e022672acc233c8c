"""Digests of arrays that are the same wherever the same bits are, however they lie in memory and on devices.

A tree: the digest of all matrices covers that of each, which covers those of its tiles (tiles.py). Runs that were begun
before there were tiles have flat digests, of each matrix's bytes from end to end, and keep them.
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
"""A digest over tiles begins with this; a flat one is 64 hex digits alone."""


def form_of(recorded: str | None) -> Digest:
    """Returns the function that `recorded` is of; where nothing has been recorded yet, the tree."""
    return tree if recorded is None or recorded.startswith(TREE) else flat


def tree(matrices: Matrices) -> str:
    """Returns "tree:" and the SHA-256 over the matrices in the order of their names: name, type, shape and tiles.

    All processes of a cluster must call it at once.
    """
    names = sorted(matrices)
    found = tiles.tables({name: matrices[name] for name in names})
    return TREE + _over({name: hashlib.sha256(found[name].data).hexdigest() for name in names}, matrices)


def flat(matrices: Matrices) -> str:
    """Returns the SHA-256 over the matrices in the order of their names: name, type, shape and little-endian bytes.

    All processes of a cluster must call it at once, and each makes every matrix whole.
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
