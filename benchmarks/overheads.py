"""Measures what a run does besides its steps: loading batches, the ledger and checkpoints."""

import tempfile
import time
from pathlib import Path

from palmetto.host import environment
from palmetto.recipe import Recipe


def overheads(recipe: Recipe, step_seconds: float) -> None:
    """Prints the time of loading, ledger and checkpoints as shares of a step."""
    environment.prepare(recipe.training.threads)
    import jax
    import numpy as np

    from palmetto.model.parameters import parameter_table
    from palmetto.tokens import store
    from palmetto.tokens.order import Order
    from palmetto.training.checkpoint import Checkpoints
    from palmetto.training.digest import tree
    from palmetto.training.ledger import Ledger, Line, batch_digest
    from palmetto.training.step.state import initial_state

    training, size, length = recipe.training, recipe.tokens.vocabulary_size, recipe.tokens.sequence_length
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        tokens = np.random.default_rng(0).integers(0, size, 20_000_000)
        store.write(
            path / "train.bin",
            [tokens],
            vocabulary_size=size,
            sequence_length=length,
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
