"""Compares what a newcomer has after five minutes on this machine with what PyTorch has: held-out bits a byte.

    .venv/bin/python benchmarks/five_minutes.py [--seconds 300] [--seeds 3] [--avx2] [--sweep] [KEY.PATH=VALUE]...

Palmetto is `palmetto run quickstart --minutes 5`, as `make quickstart` has it, in a fresh run directory; overrides
change its recipe. It chooses its steps by their time on this machine. If it has not ended when the time is up, it is
stopped, as a user would: it finishes its step and writes a checkpoint, and what it has learned by then is scored. If it
ends earlier, the rest of the time is its loss. The peer is a GPT-2 in compiled PyTorch
(peers/gpt2_torch.py) with a vocabulary of its own, at the best settings of a recorded sweep (gpt2.py); its rate follows
the clock down to zero. Neither side finds anything compiled, and both clocks include starting the process, training the
vocabulary, encoding the text and compiling. Two things favour the peer: its text lies ready, already split, and it
writes no checkpoints, samples or reports.

Both learn from the same documents, and are scored on the same held-out ones: nats of all tokens over ln 2 and the bytes
of text, every token being predicted once from those before it in its window. The sides take turns. `--avx2` limits the
instruction set of both. `--sweep` chooses the peer's settings anew. The last line is the margin: the peer's bits a byte
less Palmetto's, the median over the seeds.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gpt2
from text import write_split

from palmetto.cli.runs import prepare
from palmetto.workflow import tokens

HERE = Path(__file__).resolve().parent
AVX2 = {
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2 --xla_cpu_experimental_ynn_fusion_type=",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""The variables that limit XLA and our kernels on one side, and oneDNN, PyTorch and MKL on the other.

XLA's limit does not bind YNN, its library of products, which would go on to use AVX-512 and AMX. Without YNN products
are slower than on a CPU that has AVX2 only, so that the margin is a lower bound.
"""


def make_text(recipe: str, overrides: Sequence[str], folder: Path) -> Path:
    """Returns the file with the recipe's text and split, for the peer."""
    resolved, directory = prepare(recipe, list(overrides), None, folder / "text")
    tokens.build_tokens(directory, resolved, print)
    write_split(directory, resolved.corpus, folder / "text.json")
    return folder / "text.json"


def palmetto(
    recipe: str, overrides: Sequence[str], seconds: float, run: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Trains with Palmetto for so many seconds, and returns the figures of the newest checkpoint."""
    timed = ["--minutes", str(seconds / 60), "--run", str(run)]
    command = [sys.executable, "-m", "palmetto", "run", recipe, *overrides, *timed]
    variables, log = os.environ | environment, run.with_suffix(".log")
    start = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
    taken = time.perf_counter() - start
    scored = subprocess.run(
        [sys.executable, HERE / "bits_a_byte.py", run], env=variables, stdout=subprocess.PIPE, text=True, check=False
    )
    if scored.returncode:
        sys.exit(f"{log}: Palmetto left nothing to score:\n{log.read_text()}")
    return json.loads(scored.stdout) | {"late": taken - seconds}


def show(name: str, seed: int, figures: Mapping[str, Any]) -> None:
    """Prints one run."""
    late = figures["late"]
    clock = f"{late:.1f} s late" if late > 0 else f"{-late:.1f} s to spare"
    print(
        f"seed {seed}  {name:9} {figures['bits_a_byte']:.4f} bits a byte  {figures['steps']:6} steps  {clock}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="changes of Palmetto's recipe")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--seconds", type=float, default=300.0, help="the time of each side")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--avx2", action="store_true", help="limit both sides to AVX2")
    parser.add_argument("--sweep", action="store_true", help="choose the peer's settings anew, and record them")
    arguments = parser.parse_args()
    environment = AVX2 if arguments.avx2 else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = make_text(arguments.recipe, arguments.overrides, folder)
        if arguments.sweep:
            gpt2.sweep(text, arguments.seconds, environment, arguments.avx2)
        settings = gpt2.best(gpt2.read_record(arguments.avx2), arguments.avx2)
        print(f"the peer: {settings}", flush=True)
        margins = []
        for seed in range(arguments.seeds):
            overrides = [*arguments.overrides, f"training.seed={seed}"]
            ours = palmetto(arguments.recipe, overrides, arguments.seconds, folder / f"seed-{seed}", environment)
            show("palmetto", seed, ours)
            theirs = gpt2.run(text, settings, arguments.seconds, seed, environment)
            show("pytorch", seed, theirs)
            assert ours["bytes"] == theirs["bytes"], "both are scored on the same text"
            margins.append(theirs["bits_a_byte"] - ours["bits_a_byte"])
    print(f"margin {statistics.median(margins):.3f}")


if __name__ == "__main__":
    main()
