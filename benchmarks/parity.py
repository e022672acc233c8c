"""Makes a table of docs/interop.md: how far another runtime is from Palmetto on an export of each kind of recipe.

    parity.py huggingface|gguf|ctranslate2

The runs have random weights, two layers and a width of 32. Kinds that the target refuses are left out. The runtime's
environment, .venv-torch, .venv-llamacpp or .venv-ctranslate2, is made if necessary.
"""

import os
import sys
import tempfile
from pathlib import Path

from peer_environment import peer_python

from palmetto.host import environment

os.environ.setdefault("JAX_PLATFORMS", "cpu")
environment.prepare(os.cpu_count() or 1)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from palmetto.errors import UserError  # noqa: E402
from palmetto.interop import catalogue, ctranslate2, llamacpp  # noqa: E402
from palmetto.interop.architecture import nearest  # noqa: E402
from palmetto.interop.export import export  # noqa: E402
from palmetto.interop.targets import TARGETS  # noqa: E402
from tests.references import exported  # noqa: E402

_OPENED = {
    "huggingface": catalogue.choose,
    "gguf": llamacpp.choose,
    "ctranslate2": lambda recipe: nearest(ctranslate2.ARCHITECTURES, recipe, "CTranslate2"),
}
_SAME = {True: "same", False: "DIFFERENT", None: "none there"}


def main(target: str) -> None:
    python, versions = peer_python(exported.PEERS[target].name.removeprefix(".venv-")), ""
    print("| recipe | opened as | weights | differ by | largest | greedy text | ids |\n|---|---|---|---|---|---|---|")
    for kind in exported.KINDS:
        recipe = exported.of_kind(kind)
        try:
            opened = _OPENED[target](recipe).name
        except UserError:
            continue
        for dtype in TARGETS[target].types if kind == "PaLM" and target != "huggingface" else ("float32",):
            with tempfile.TemporaryDirectory() as folder:
                run = exported.made(Path(folder) / "run", recipe)
                checked = export(run, target, Path(folder) / "out", None, dtype, python).checked
            assert checked is not None
            figures = f"{checked.logits:.1e} | {checked.largest:.1f}"
            same = " | ".join(_SAME[each] for each in (checked.greedy, checked.ids))
            print(f"| {kind} | {opened} | {dtype} | {figures} | {same} |", flush=True)
            versions = checked.versions
    print(f"\n{versions}")


if __name__ == "__main__":
    main(*sys.argv[1:])
