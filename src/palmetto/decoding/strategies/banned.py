"""Leaves out tokens that are banned."""

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

    def left(self, row: Context, size: int) -> npt.NDArray[np.bool_]:
        left = np.ones(size, np.bool_)
        left[list(row.sampling.banned)] = False
        return left
