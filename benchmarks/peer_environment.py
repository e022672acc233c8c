"""Makes the virtual environments of peers, which are separate from the project's."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TORCH_ENVIRONMENT = Path(__file__).resolve().parent.parent / ".venv-torch"
TORCH_PACKAGES = ("torch==2.13.0", "transformers==5.23.0", "numpy")


def torch_python() -> Path:
    """Returns the interpreter of the peers in PyTorch."""
    return python_of(TORCH_ENVIRONMENT, TORCH_PACKAGES)


def python_of(environment: Path, packages: Sequence[str]) -> Path:
    """Returns the interpreter of a peer's environment, which is made with its packages if necessary."""
    python = environment / "bin" / "python"
    if not (environment / "complete").exists():
        print(f"installing {', '.join(packages)} into {environment.name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (environment / "complete").touch()
    return python
