"""Digests of arrays that are the same wherever the same bits are, however they lie in memory."""

import hashlib
from collections.abc import Mapping

import jax
import numpy as np

from palmetto.parallel.processes import on_host


def digest(matrices: Mapping[str, jax.Array | np.ndarray]) -> str:
    """SHA-256 over the logical matrices in the order of their names: name, type, shape and little-endian bytes."""
    whole = hashlib.sha256()
    for name in sorted(matrices):
        array = on_host(matrices[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        part = hashlib.sha256(array.tobytes()).hexdigest()
        whole.update(f"{name} {array.dtype.name} {array.shape} {part}\n".encode())
    return whole.hexdigest()
