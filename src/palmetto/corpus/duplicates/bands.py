"""Computes MinHash signatures in bands: similar documents are likely to share a band.

Broder, 1997; Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, section 3.4.
"""

import functools
from typing import NamedTuple

import numpy as np

from palmetto.corpus.duplicates.shingles import Places
from palmetto.corpus.extras import need
from palmetto.corpus.text import scripts
from palmetto.corpus.text.rolling import Hashes

_SEED = 1
_MISSED = 0.98
_POINTS = 2000


class Shape(NamedTuple):
    """The shape of a signature; documents of similarity s share a band with probability 1 - (1 - s^rows)^bands."""

    bands: int
    rows: int


@functools.cache
def best_shape(threshold: float, permutations: int) -> Shape:
    """Returns the shape, with bands * rows at most `permutations`, that minimizes

        0.02 * integral from 0 to threshold of p(s) ds + 0.98 * integral from threshold to 1 of (1 - p(s)) ds

    with p(s) = 1 - (1 - s^rows)^bands. The first term counts pairs compared needlessly, the second pairs missed, as in
    datasketch's MinHashLSH. A missed pair weighs 49 times as much, because a needless one only costs a comparison.
    """
    similarities = (np.arange(_POINTS) + 0.5) / _POINTS
    below = similarities < threshold

    def loss(shape: Shape) -> float:
        found = 1 - (1 - similarities**shape.rows) ** shape.bands
        return float((1 - _MISSED) * found[below].sum() + _MISSED * (1 - found[~below]).sum())

    shapes = [Shape(permutations // rows, rows) for rows in range(1, permutations + 1)]
    return min(shapes, key=loss)


def algorithm() -> int:
    """Returns the version of the signature algorithm, which the signatures depend on."""
    version: int = need("rensa").RMinHash.ALGORITHM_VERSION
    return version


def bands(shingles: Hashes, ends: Places, shape: Shape, salt: int) -> Hashes:
    """Returns a hash of each band of each text's signature, uint64 [texts, bands].

    shingles, ends: those of text i are [ends[i - 1], ends[i]). salt: bands of different kinds get different salts, so
    that they do not match. Signatures are rensa's R-MinHash, as good as independent permutations and much faster
    (Dahlgaard, Knudsen, Thorup, arXiv 1704.04370).
    """
    offsets = np.concatenate([[0], ends]).astype(np.uint64)
    size = shape.bands * shape.rows
    matrix = need("rensa").RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets, size, _SEED)
    signatures = np.array(matrix.to_rows(), np.uint64).reshape(len(ends), shape.bands, shape.rows)
    hashes = np.broadcast_to(np.arange(shape.bands, dtype=np.uint64) + np.uint64(salt << 32), signatures.shape[:2])
    for row in range(shape.rows):
        hashes = scripts.mix(hashes ^ signatures[:, :, row])
    return hashes
