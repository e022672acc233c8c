"""Makes the table of docs/interop.md: how far transformers is from Palmetto on an export of each kind of recipe.

    parity.py

The runs have random weights, two layers and a width of 32. It needs .venv-torch (peer_environment.py).
"""

import os
import sys
import tempfile
from pathlib import Path

from palmetto.host import environment

os.environ.setdefault("JAX_PLATFORMS", "cpu")
environment.prepare(os.cpu_count() or 1)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from peer_environment import torch_python  # noqa: E402

from palmetto.interop.export import export  # noqa: E402
from tests.references import exported  # noqa: E402


def main() -> None:
    python = torch_python()
    versions = ""
    print("| recipe | class | logits differ by | largest logit | greedy text | ids |\n|---|---|---|---|---|---|")
    for kind, (name, _) in exported.KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            run = exported.made(Path(folder) / "run", exported.of_kind(kind))
            checked = export(run, "huggingface", Path(folder) / "out", None, "float32", python).checked
        assert checked is not None
        same = ("same" if each else "DIFFERENT" for each in (checked.greedy, checked.ids))
        print(f"| {kind} | {name} | {checked.logits:.1e} | {checked.largest:.1f} | {' | '.join(same)} |", flush=True)
        versions = checked.versions
    print(f"\n{versions}")


if __name__ == "__main__":
    main()
