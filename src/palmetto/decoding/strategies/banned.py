"""Leaves out tokens that are banned."""

from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from palmetto.decoding.strategies.constraint import Mask
from palmetto.decoding.strategies.strategy import Context


class Banned(Mask):
    """Gives the tokens of `banned` the logit −∞."""

    name: ClassVar[str] = "banned"

    def used(self, row: Context) -> bool:
        return bool(row.sampling.banned)

    def left(self, row: Context, size: int) -> npt.NDArray[np.uint8]:
        return _all_but(row.sampling.banned, size)


@lru_cache(maxsize=64)
def _all_but(banned: tuple[int, ...], size: int) -> npt.NDArray[np.uint8]:
    """Returns all tokens but some as bits [V / 8]; each step asks for them anew."""
    left = np.ones(size, np.bool_)
    left[list(banned)] = False
    return np.packbits(left)
