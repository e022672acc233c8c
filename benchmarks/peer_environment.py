"""Makes the virtual environments of peers, which are separate from the project's.

    peer_environment.py

makes those that exports are compared in, if they are not there: .venv-torch, .venv-llamacpp and .venv-ctranslate2.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LOCKS = ROOT / "requirements" / "peers"
PACKAGES = {
    "torch": ("-r", f"{_LOCKS / 'torch.txt'}"),
    "llamacpp": ("--require-hashes", "-r", f"{_LOCKS / 'llamacpp.txt'}"),
    "ctranslate2": ("--require-hashes", "-r", f"{_LOCKS / 'ctranslate2.txt'}"),
}
"""The arguments with which pip makes the environment of each peer."""
LM_EVAL_ENVIRONMENT = ROOT / ".venv-lmeval"
LM_EVAL_PACKAGES = ("lm-eval==0.4.13", "torch==2.13.0", "transformers==5.23.0", "accelerate", "-e", str(ROOT))


def torch_python() -> Path:
    """Returns the interpreter of the peers in PyTorch."""
    return peer_python("torch")


def peer_python(peer: str) -> Path:
    """Returns the interpreter of a peer of `PACKAGES`, whose environment is made if necessary."""
    return python_of(ROOT / f".venv-{peer}", PACKAGES[peer])


def lm_eval_python() -> Path:
    """Returns the interpreter of lm-eval, with Palmetto, and with PyTorch for lm-eval's own model."""
    return python_of(LM_EVAL_ENVIRONMENT, LM_EVAL_PACKAGES)


def python_of(environment: Path, packages: Sequence[str]) -> Path:
    """Returns the interpreter of a peer's environment, made with its packages, as pip takes them, if necessary."""
    python = environment / "bin" / "python"
    if not (environment / "complete").exists():
        print(f"installing {' '.join(packages)} into {environment.name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (environment / "complete").touch()
    return python


if __name__ == "__main__":
    for peer in PACKAGES:
        peer_python(peer)
