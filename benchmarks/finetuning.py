"""Compares fine-tuning on a CPU with transformers and peft: the same base, examples, batches, optimizer and rates.

    .venv/bin/python benchmarks/finetuning.py DIR [--rounds 5] [--steps 4]

DIR is a fine-tuning in float32 by AdamW, with adapters or without, as `palmetto finetune` has begun it. Its base is
exported, and the peer loads it from there. The peer gets the examples of each batch as rows that are padded to the
longest of them, as is usual; Palmetto takes the rows that it has packed. Each program has its own process, and they
take turns within every round. The ratio is that of examples/s, the median over the rounds. The losses of the first and
the last step of both are printed: the first ones agree, as both begin with the base. The peer draws adapters by its own
rule, so that later losses differ with them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peer_environment import PACKAGES, python_of
from race import Runner, compare

HERE = Path(__file__).resolve().parent
PEFT_ENVIRONMENT = HERE.parent / ".venv-peft"
PEFT_PACKAGES = (*PACKAGES["torch"], "peft==0.21.2")
_BATCHES = 16
"""The number of batches, which both programs go through again and again."""


def batches_of(directory: Path) -> list[list[tuple[list[int], list[bool]]]]:
    """Returns the examples of the first batches: tokens, and which of them are predicted."""
    from palmetto.runs.directory import RunDirectory
    from palmetto.tokens.marks import unmark
    from palmetto.tokens.order import Order
    from palmetto.tokens.store import TokenStore

    run = RunDirectory.existing(directory)
    training, store = run.recipe.training, TokenStore.open(run.train_store)
    order = Order(store.windows, training.batch_ramp, training.seed, training.epochs)
    found = []
    for step in range(1, _BATCHES + 1):
        examples = []
        for tokens, scored, begins in zip(*unmark(store.read_stored(order.sequence_numbers(step))), strict=True):
            places = np.flatnonzero(begins[:-1]).tolist()
            for begin, end in zip(places, [*places[1:], len(tokens) - 1], strict=True):
                if end - begin > 1:
                    examples.append((tokens[begin:end].tolist(), scored[begin:end].tolist()))
        found.append(examples)
    return found


def worker(directory: Path) -> None:
    """Takes the steps of a fine-tuning from its beginning, as a program of the race."""
    from palmetto.host import environment
    from palmetto.runs.directory import RunDirectory

    run = RunDirectory.existing(directory)
    environment.prepare(run.recipe.training.threads)
    from palmetto.tokens.vocabulary import Vocabulary
    from palmetto.training.step.execution import Execution

    execution = Execution(run.recipe, run.train_store, Vocabulary.load(run.vocabulary))
    state, taken, losses = execution.initial_state(), 0, list[float]()

    def timed(steps: int) -> float:
        nonlocal state, taken
        start = time.perf_counter()
        for _ in range(steps):
            state, line, _ = execution.take(state, 1 + taken % _BATCHES, 0, ())
            losses.append(line.loss)
            taken += 1
        return time.perf_counter() - start

    print(timed(1), flush=True)
    for line in sys.stdin:
        print(timed(int(line)), flush=True)
    print(f"palmetto: loss {losses[0]:.5f} at first, {losses[-1]:.5f} after {taken} steps", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of each program in a round")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.directory)
        return
    from palmetto.runs.directory import RunDirectory
    from palmetto.training.learning_rate import learning_rate

    recipe = RunDirectory.existing(arguments.directory).recipe
    assert recipe.finetuning is not None, "a run that `palmetto finetune` has begun"
    batches = batches_of(arguments.directory)
    count = sum(map(len, batches)) / len(batches)
    with tempfile.TemporaryDirectory() as folder:
        exported, given = Path(folder) / "base", Path(folder) / "given.json"
        begun = [recipe.finetuning.base, "--step", str(recipe.finetuning.step)]
        command = [sys.executable, "-m", "palmetto", "export", *begun, "--to", "huggingface", "--out", str(exported)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rates = [float(learning_rate(recipe.training, step)) for step in range(1, _BATCHES + 1)]
        settings = {"optimizer": recipe.training.optimizer.model_dump(), "rates": rates}
        lora = None if recipe.model.lora is None else recipe.model.lora.model_dump()
        given.write_text(json.dumps({"batches": batches, "lora": lora, **settings}))
        peer = [str(python_of(PEFT_ENVIRONMENT, PEFT_PACKAGES)), str(HERE / "peers" / "peft_torch.py")]
        runners = [
            Runner("palmetto", [sys.executable, __file__, str(arguments.directory), "--worker"], round(count)),
            Runner("transformers and peft", [*peer, str(exported), str(given)], round(count)),
        ]
        for _ in range(arguments.rounds):
            for runner in runners:
                runner.take(arguments.steps)
        for runner in runners:
            print(f"{runner.name:24} {np.median(runner.rates):8.1f} examples/s   first step {runner.first_step:5.1f} s")
            runner.stop()
    print(f"ratio {compare(*runners):.2f}")


if __name__ == "__main__":
    main()
