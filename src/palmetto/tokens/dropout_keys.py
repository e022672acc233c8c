"""The keys of dropout, one for each sequence of a step."""

import hashlib

import numpy as np
import numpy.typing as npt


def dropout_keys(seed: int, step: int, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Returns the keys of the sequences at `positions` [B] in the order of a run, uint32 [B, 2].

    A key is the beginning of the SHA-256 of the three numbers.
    """
    digests = (hashlib.sha256(f"dropout {seed} {step} {position}".encode()).digest() for position in positions.tolist())
    return np.frombuffer(b"".join(digest[:8] for digest in digests), "<u4").reshape(-1, 2).astype(np.uint32)
