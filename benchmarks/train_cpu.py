"""Compares the training speed on a CPU with PyTorch, in the shape of the 15M recipe.

    .venv/bin/python benchmarks/train_cpu.py [--rounds 5] [--steps 2]

The shape is L 6, D 384, H 6, Q 64, V 8192, T 512, batch 8. Palmetto (float32 and bfloat16) competes with transformers'
CohereForCausalLM (eager and compiled, float32 and bfloat16), all with AdamW and clipping. Each program has its own
process, and they take turns within every round, so that changes in the machine's speed affect all of them. A peer whose
first step takes more than a minute, with compilation, is left out of the rounds. The peer has its own virtual
environment, made on first use. The last line is the ratio of tokens/s of the better Palmetto and the best of the four,
the median over the rounds.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from peer_environment import python_of
from race import Runner, compare

HERE = Path(__file__).resolve().parent
PEER_ENVIRONMENT = HERE.parent / ".venv-torch"
PEER_PACKAGES = ("torch==2.13.0", "transformers==5.23.0", "numpy")
PEERS = [(mode, dtype) for mode in ("eager", "compile") for dtype in ("float32", "bfloat16")]
TOKENS = 8 * 512
_SLOWEST = 60.0
"""The most seconds of a first step."""
# One thread for each core, as in PyTorch; the default of 8 would keep the bits on up to 8 devices.
THREADS = f"training.threads={os.cpu_count()}"
OVERRIDES = ("training.batch_size=8", "training.optimizer.name=adamw", "training.steps=1000", THREADS)


def overheads(step_seconds: float) -> None:
    """Prints the time of loading, ledger and checkpoints as shares of a step."""
    from palmetto.host import environment
    from palmetto.recipe import loading

    recipe = loading.load("palm-15m", OVERRIDES)
    environment.prepare(recipe.training.threads)
    import jax
    import numpy as np

    from palmetto.tokens import store
    from palmetto.tokens.order import Order
    from palmetto.training.checkpoint import Checkpoints
    from palmetto.training.digest import tree
    from palmetto.training.ledger import Ledger, Line, batch_digest
    from palmetto.training.step.state import initial_state, parameter_table

    training = recipe.training
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        tokens = np.random.default_rng(0).integers(0, 8192, 20_000_000)
        store.write(
            path / "train.bin",
            [tokens],
            vocabulary_size=8192,
            sequence_length=512,
            documents=1,
            vocabulary_digest="",
            source_fingerprint="",
        )
        opened = store.TokenStore.open(path / "train.bin")
        order = Order(opened.windows, training.batch_ramp, training.seed, 1)
        start = time.perf_counter()
        for step in range(1, 201):
            windows = opened.read(order.sequence_numbers(step))
        reading = (time.perf_counter() - start) / 200

        ledger = Ledger.open(path / "ledger.jsonl")
        start = time.perf_counter()
        for step in range(1, 201):
            ledger.append(Line(step, 0, 1.0, 1.0, 1.0, 1.0, 1e-3, 8, batch_digest(windows), True))
        recording = (time.perf_counter() - start) / 200
        state = initial_state(recipe)
        start = time.perf_counter()
        tree({name: np.asarray(array) for name, array in state.parameters.items()})
        recording += (time.perf_counter() - start) / training.digest_every

        checkpoints = Checkpoints(path / "checkpoints", parameter_table(recipe))
        seconds = []
        for step in (1, 2, 3):
            jax.block_until_ready(state)
            start = time.process_time()  # processor time, since saving overlaps with steps
            checkpoints.save(state, step=step, attempt=0, recipe="", tokens="", chain="")
            checkpoints.wait()
            seconds.append(time.process_time() - start)
        recording += min(seconds) / training.checkpoint_every
    print(f"loading: {reading / step_seconds:.2%} of a step")
    print(f"ledger and checkpoints (every {training.checkpoint_every} steps): {recording / step_seconds:.2%} of a step")


def peer_python() -> Path:
    """Returns the interpreter of the peer's environment, which is made if necessary."""
    return python_of(PEER_ENVIRONMENT, PEER_PACKAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of each program in a round")
    parser.add_argument("--float32", action="store_true", help="leave out bfloat16, which is slow if a CPU lacks it")
    arguments = parser.parse_args()
    python, script = peer_python(), HERE / "peers" / "cohere_torch.py"
    types = ["float32"] if arguments.float32 else ["float32", "bfloat16"]
    ours = [
        Runner.palmetto(f"palmetto {dtype}", "palm-15m", (*OVERRIDES, f"model.activations={dtype}"), TOKENS)
        for dtype in types
    ]
    wanted = [(mode, dtype) for mode, dtype in PEERS if dtype in types]
    peers = [Runner(f"torch {mode} {dtype}", [str(python), str(script), mode, dtype], TOKENS) for mode, dtype in wanted]
    racing = [*ours, *(peer for peer in peers if peer.first_step < _SLOWEST)]
    for _ in range(arguments.rounds):
        for runner in racing:
            runner.take(arguments.steps)
    for runner in (*ours, *peers):
        speed = f"{speed_of(runner):7.0f} tokens/s" if runner in racing else "out of the race"
        print(f"{runner.name:24} {speed:16}   first step {runner.first_step:5.1f} s")
        runner.stop()
    mine, best = (max(side, key=speed_of) for side in (ours, racing[len(ours) :]))
    overheads(TOKENS / speed_of(mine))
    print(f"ratio {compare(mine, best):.2f}")


def speed_of(runner: Runner) -> float:
    """Returns the median tokens/s of a program."""
    return statistics.median(runner.rates)


if __name__ == "__main__":
    main()
