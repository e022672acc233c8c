"""The environments of foreign runtimes, which tests of parity need."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from palmetto.interop import peer
from tests.references.exported import PEERS, outside
from tests.references.warm import warmed

TRANSFORMERS = (
    "torch",
    "transformers.generation.utils",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
)
"""The modules that each answer of transformers loads."""
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
                    alone = {name: value for name, value in outside().items() if not name.startswith("PYTHON")}
                    offline = alone | {"HF_HUB_OFFLINE": "1"}
                    warm = tmp_path_factory.mktemp("warm")
                    there = stack.enter_context(warmed(there, warm, *TRANSFORMERS, environment=offline))
                found[target] = there
            return found[target]

        yield python
