"""The recipe and the text of sweeps, for ladders too."""

from tests.sweeps.conftest import tiny

__all__ = ["tiny"]
