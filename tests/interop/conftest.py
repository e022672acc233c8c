"""The environments of foreign runtimes, which tests of parity need."""

from collections.abc import Callable
from pathlib import Path

import pytest

from palmetto.interop import peer
from tests.references.exported import PEERS

Peers = Callable[[str], Path]


@pytest.fixture(scope="session")
def peers() -> Peers:
    """Returns a function from a target to the Python of its runtime's environment."""

    def python(target: str) -> Path:
        folder = PEERS[target]
        if not (folder / "bin" / "python").exists():
            pytest.skip(f"no {folder.name}, which `make peers` makes")
        found = peer.environment(peer.RUNTIMES[target], folder, print)
        assert found is not None
        return found

    return python
