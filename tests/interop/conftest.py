"""The environments of foreign runtimes, which tests of parity need."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from palmetto.interop import peer
from tests.references import warm_peer
from tests.references.exported import PEERS

Peers = Callable[[str], Path]


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Returns a function from a target to the Python of its runtime's environment."""
    found: dict[str, Path] = {}
    with ExitStack() as stack:

        def python(target: str) -> Path:
            folder = PEERS[target]
            if not (folder / "bin" / "python").exists():
                pytest.skip(f"no {folder.name}, which `make peers` makes")
            if target not in found:
                there = peer.environment(peer.RUNTIMES[target], folder, print)
                assert there is not None
                if target == "huggingface":
                    there = stack.enter_context(warmed(there, tmp_path_factory.mktemp("warm")))
                found[target] = there
            return found[target]

        yield python


@contextmanager
def warmed(python: Path, folder: Path) -> Iterator[Path]:
    """Yields a program that runs scripts as a Python does, in forks of one process that has transformers loaded."""
    address, client = folder / "socket", folder / "python"
    client.write_text(warm_peer.CLIENT.format(python=python, address=str(address)))
    client.chmod(0o755)
    command = [str(python), "-I", warm_peer.__file__, str(address)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield client
