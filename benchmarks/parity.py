"""Makes a table of docs/interop.md: how far another runtime is from Palmetto on an export of each kind of recipe.

    parity.py huggingface|gguf|ctranslate2

The runs have random weights, two layers and a width of 32. The runtime's environment, .venv-torch, .venv-llamacpp or
.venv-ctranslate2, is made if necessary.
"""

import os
import sys
import tempfile
from pathlib import Path

from palmetto.host import environment

os.environ.setdefault("JAX_PLATFORMS", "cpu")
environment.prepare(os.cpu_count() or 1)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from palmetto.errors import UserError  # noqa: E402
from palmetto.interop import peer  # noqa: E402
from palmetto.interop.export import export  # noqa: E402
from tests.references import exported  # noqa: E402

_SAME = {True: "same", False: "DIFFERENT", None: ""}


def main(target: str) -> None:
    python = peer.environment(peer.RUNTIMES[target], exported.PEERS[target], print)
    versions = ""
    print("| recipe | opened as | logits differ by | largest logit | greedy text | ids |\n|---|---|---|---|---|---|")
    for kind, (name, _) in exported.KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            run = exported.made(Path(folder) / "run", exported.of_kind(kind))
            try:
                checked = export(run, target, Path(folder) / "out", None, "float32", python).checked
            except UserError as refusal:
                print(f"| {kind} | refused: {str(refusal).rpartition('; ')[2]} | | | | |", flush=True)
                continue
        assert checked is not None
        same = (_SAME[each] for each in (checked.greedy, checked.ids))
        opened = name if target == "huggingface" else "yes"
        print(f"| {kind} | {opened} | {checked.logits:.1e} | {checked.largest:.1f} | {' | '.join(same)} |", flush=True)
        versions = checked.versions
    print(f"\n{versions}")


if __name__ == "__main__":
    main(*sys.argv[1:])
