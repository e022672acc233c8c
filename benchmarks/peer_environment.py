"""Makes the virtual environments of peers, which are separate from the project's."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
TORCH_ENVIRONMENT = _ROOT / ".venv-torch"
TORCH_PACKAGES = ("torch==2.13.0", "transformers==5.23.0", "numpy")
LM_EVAL_ENVIRONMENT = _ROOT / ".venv-lmeval"
LM_EVAL_PACKAGES = ("lm-eval==0.4.13", "torch==2.13.0", "transformers==5.23.0", "accelerate", "-e", str(_ROOT))


def torch_python() -> Path:
    """Returns the interpreter of the peers in PyTorch."""
    return python_of(TORCH_ENVIRONMENT, TORCH_PACKAGES)


def lm_eval_python() -> Path:
    """Returns the interpreter of lm-eval, with Palmetto, and with PyTorch for lm-eval's own model."""
    return python_of(LM_EVAL_ENVIRONMENT, LM_EVAL_PACKAGES)


def python_of(environment: Path, packages: Sequence[str]) -> Path:
    """Returns the interpreter of a peer's environment, which is made with its packages if necessary."""
    python = environment / "bin" / "python"
    if not (environment / "complete").exists():
        print(f"installing {', '.join(packages)} into {environment.name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (environment / "complete").touch()
    return python
