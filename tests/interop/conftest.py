"""The environment of the peers, which tests of parity need."""

from pathlib import Path

import pytest

from palmetto.interop import peer
from tests.references.exported import PEERS


@pytest.fixture(scope="session")
def peers() -> Path:
    """Returns the Python of the environment with PyTorch and transformers."""
    if not (PEERS / "bin" / "python").exists():
        pytest.skip(f"no {PEERS.name}, the peers' environment, which benchmarks/peer_environment.py makes")
    python = peer.environment(peer.RUNTIMES["huggingface"], PEERS, print)
    assert python is not None
    return python
