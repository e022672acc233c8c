"""Constraints that do not depend on text, for a vocabulary of `VOCABULARY` tokens."""

import numpy as np

from palmetto.decoding.request import Finish
from tests.decoding.test_trained import VOCABULARY
from tests.references.panic import Panic


class Free:
    """Allows anything."""

    finish = Finish.DEAD_END

    def allowed(self) -> np.ndarray | None:
        return np.ones(VOCABULARY, bool)

    def accept(self, token: int) -> None:
        pass


class Ends(Free):
    """Allows anything twice, and then nothing."""

    def __init__(self) -> None:
        self._left = 2

    def allowed(self) -> np.ndarray | None:
        return super().allowed() if self._left else None

    def accept(self, token: int) -> None:
        self._left -= 1


class Panics(Free):
    """Fails at the first token."""

    def accept(self, token: int) -> None:
        raise Panic("broken")
