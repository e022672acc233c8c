"""Training speed on a CPU beside PyTorch, in the 15M recipe's shape.

    .venv/bin/python benchmarks/train_cpu.py [--rounds 5] [--steps 2]

L 6, D 384, H 6, Q 64, V 8192, T 512, batch 8, float32: Palmetto against transformers' CohereForCausalLM (eager and
compiled, float32 and bfloat16), all with AdamW and clipping. Each program runs in a process of its own; they take turns
within every round, so that the machine's moods hit all alike. A peer whose first step takes over a minute,
compiling included, is left out of the rounds. The peer gets a virtual environment of its own, made here on
first use. The last line is the ratio of tokens/s, Palmetto over the best of the four, the median over the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEER_ENVIRONMENT = HERE.parent / ".venv-torch"
PEER_PACKAGES = ("torch==2.13.0", "transformers==5.23.0", "numpy")
PEERS = [(mode, dtype) for mode in ("eager", "compile") for dtype in ("float32", "bfloat16")]
TOKENS = 8 * 512
_HOPELESS = 60.0  # seconds
# A thread a core, as PyTorch has it; the default of 8 would keep the bits on up to 8 devices.
THREADS = f"training.threads={os.cpu_count()}"
OVERRIDES = ("training.batch_size=8", "training.optimizer.name=adamw", "training.steps=1000", THREADS)


class Runner:
    """A program that takes steps when told to."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name, self.rates = name, list[float]()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first_step = float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self._process.wait()}")
        return line

    def take(self, steps: int) -> None:
        """Takes steps and notes the tokens/s."""
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin, flush=True)
        self.rates.append(steps * TOKENS / float(self._answer()))

    def stop(self) -> None:
        self._process.communicate()


def worker() -> None:
    """Palmetto's side of the protocol in peers/cohere_torch.py, then what a run does besides its steps."""
    from palmetto import environment, recipes

    recipe = recipes.load("palm-15m", OVERRIDES)
    environment.prepare(recipe.training.threads)
    import jax
    import numpy as np

    from palmetto.model import layout
    from palmetto.training.step import initial_state, make_step

    step = make_step(recipe, layout.for_platform("cpu"))
    state = initial_state(recipe)
    shape = (8 // recipe.training.micro_batch, recipe.training.micro_batch, 513)
    random = np.random.default_rng(0)
    batches = [random.integers(0, 8192, shape, dtype=np.int32) for _ in range(3)]

    def timed(steps: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for number in range(steps):
            state, metrics = step(state, jax.numpy.asarray(batches[number % 3]), jax.numpy.float32(1e-3))
            jax.device_get(metrics)
        return time.perf_counter() - start

    print(timed(1), flush=True)
    for line in sys.stdin:
        print(timed(int(line)), flush=True)


def overheads(step_seconds: float) -> None:
    """Prints what loading, ledger and checkpoints add to a step of the recipe, as shares."""
    from palmetto import environment, recipes

    recipe = recipes.load("palm-15m", OVERRIDES)
    environment.prepare(recipe.training.threads)
    import jax
    import numpy as np

    from palmetto.tokens import store
    from palmetto.tokens.order import Order
    from palmetto.training.checkpoint import Checkpoints
    from palmetto.training.digest import digest
    from palmetto.training.ledger import Ledger, Line, batch_digest
    from palmetto.training.step import initial_state, stacked_names

    training = recipe.training
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        tokens = np.random.default_rng(0).integers(0, 8192, 20_000_000)
        store.write(path / "train.bin", [tokens], vocabulary_size=8192, sequence_length=512, documents=1,
                    vocabulary_digest="", source_fingerprint="")  # fmt: skip
        opened = store.TokenStore.open(path / "train.bin")
        order = Order(opened.windows, training.batch_stages, training.seed, 1)
        start = time.perf_counter()
        for step in range(1, 201):
            windows = opened.read(order.sequence_numbers(step))
        loading = (time.perf_counter() - start) / 200

        ledger = Ledger(path / "ledger.jsonl")
        start = time.perf_counter()
        for step in range(1, 201):
            ledger.append(Line(step, 0, 1.0, 1.0, 1.0, 1.0, 1e-3, 8, batch_digest(windows), True))
        recording = (time.perf_counter() - start) / 200
        state = initial_state(recipe)
        start = time.perf_counter()
        digest({name: np.asarray(array) for name, array in state.parameters.items()})
        recording += (time.perf_counter() - start) / training.digest_every

        checkpoints = Checkpoints(path / "checkpoints", stacked_names(recipe))
        seconds = []
        for step in (1, 2, 3):
            jax.block_until_ready(state)
            start = time.process_time()  # the processor's time, since it works beside the steps
            checkpoints.save(state, step=step, attempt=0, recipe="", tokens="", chain="")
            checkpoints.wait()
            seconds.append(time.process_time() - start)
        recording += min(seconds) / training.checkpoint_every
    print(f"loading: {loading / step_seconds:.2%} of a step")
    print(f"ledger and checkpoints (every {training.checkpoint_every} steps): {recording / step_seconds:.2%} of a step")


def peer_python() -> Path:
    """The interpreter of the peer's environment, made if it is not there."""
    python = PEER_ENVIRONMENT / "bin" / "python"
    if not (PEER_ENVIRONMENT / "complete").exists():
        print(f"installing {', '.join(PEER_PACKAGES)} into {PEER_ENVIRONMENT.name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", PEER_ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
        (PEER_ENVIRONMENT / "complete").touch()
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of each program in a round")
    parser.add_argument("--float32", action="store_true", help="leave bfloat16 out: minutes, where a CPU lacks it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker()
        return
    python, script = peer_python(), HERE / "peers" / "cohere_torch.py"
    ours = Runner("palmetto", [sys.executable, __file__, "--worker"])
    wanted = [(mode, dtype) for mode, dtype in PEERS if dtype == "float32" or not arguments.float32]
    peers = [Runner(f"torch {mode} {dtype}", [str(python), str(script), mode, dtype]) for mode, dtype in wanted]
    racing = [ours, *(peer for peer in peers if peer.first_step < _HOPELESS)]
    for _ in range(arguments.rounds):
        for runner in racing:
            runner.take(arguments.steps)
    for runner in (ours, *peers):
        speed = f"{statistics.median(runner.rates):7.0f} tokens/s" if runner in racing else "out of the race"
        print(f"{runner.name:24} {speed:16}   first step {runner.first_step:5.1f} s")
        runner.stop()
    best = max(racing[1:], key=lambda runner: statistics.median(runner.rates))
    overheads(TOKENS / statistics.median(ours.rates))
    ratios = [mine / theirs for mine, theirs in zip(ours.rates, best.rates, strict=True)]
    print(f"rounds against {best.name}: {' '.join(f'{ratio:.2f}' for ratio in ratios)}")
    print(f"ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
