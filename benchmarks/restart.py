"""Measures the cost of starting, digesting and packing on this machine.

    .venv/bin/python benchmarks/restart.py [--rounds 5]

It compares opening a token store and reading a batch with hashing the whole store, and the digest over tiles and the
flat digest with a copy of the matrices in memory. It also measures the memory of packing for each document, and the
time of reading and following a ledger. Ratios are those of medians over rounds in which all take turns.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from palmetto.corpus.documents import Document
from palmetto.recipe.training import Spikes
from palmetto.tokens import packing, store
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training import digest, ledger
from palmetto.training.ledger import Ledger, Line
from palmetto.training.spikes import History
from palmetto.training.step.execution import observe

TOKENS = 128 << 20
LINES = 20_000


def seconds(work: Callable[[], object]) -> float:
    """Returns the seconds that a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(rounds: int, **works: Callable[[], object]) -> dict[str, float]:
    """Returns the median seconds of each piece of work; all take turns in every round."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    return {name: statistics.median(times) for name, times in taken.items()}


def stores(folder: Path, rounds: int) -> None:
    """Compares opening a store, and reading a batch of 2,048 windows, with hashing the file."""
    path = folder / "train.bin"
    tokens = np.random.default_rng(0).integers(0, 256_000, TOKENS, dtype=np.int32)
    store.write(
        path,
        [tokens],
        vocabulary_size=256_000,
        sequence_length=2048,
        documents=1,
        vocabulary_digest="",
        source_fingerprint="",
    )

    def whole() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    taken = in_turns(
        rounds,
        whole=whole,
        opening=lambda: TokenStore.open(path),
        batch=lambda: TokenStore.open(path).read(np.arange(2048) * 31 % (TOKENS // 2048 - 1)),
        check=lambda: TokenStore.open(path).check(),
    )
    gigabytes = path.stat().st_size / 1e9
    print(
        f"store of {gigabytes:.2f} GB: hashed whole {gigabytes / taken['whole']:.2f} GB/s; opened in "
        f"{taken['opening'] / taken['whole']:.5f} of that, opened and its first batch of 2,048 windows checked in "
        f"{taken['batch'] / taken['whole']:.3f}, every block checked in {taken['check'] / taken['whole']:.2f}"
    )


def digests(rounds: int) -> None:
    """Compares a digest over tiles and a flat one with a copy in memory."""
    random = np.random.default_rng(0)
    matrices = {f"up.{i:03d}": random.normal(size=(4096, 4096)).astype(np.float32) for i in range(8)}
    size = sum(matrix.nbytes for matrix in matrices.values()) / 1e9
    taken = in_turns(
        rounds,
        copy=lambda: [matrix.copy() for matrix in matrices.values()],
        tree=lambda: digest.tree(matrices),
        flat=lambda: digest.flat(matrices),
    )
    print(
        f"digest of {size:.2f} GB: over tiles {size / taken['tree']:.2f} GB/s, {taken['tree'] / taken['copy']:.1f} "
        f"times as long as a copy in memory; flat {taken['flat'] / taken['tree']:.1f} times as long as over tiles"
    )


def packs(folder: Path) -> None:
    """Measures the memory that packing needs for each document."""
    texts = [f"{i} palm tree" for i in range(1000)]
    vocabulary = Vocabulary.train(texts, 280, "bpe")
    peaks = {}
    for count in (20_000, 60_000):
        documents = (Document(f"{i} palm tree", "a") for i in range(count))
        tracemalloc.start()
        packing.pack(
            documents,
            vocabulary,
            folder / "t",
            folder / "v",
            sequence_length=64,
            validation_share=0.01,
            seed=0,
            source_fingerprint="",
        )
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    print(f"packing: {(peaks[60_000] - peaks[20_000]) / 40_000:.1f} bytes of memory a document more")


def ledgers(folder: Path, rounds: int) -> None:
    """Measures the time of reading a ledger and following it, for each line."""
    path = folder / "ledger.jsonl"
    book, random = Ledger.open(path), np.random.default_rng(0)
    for step in range(1, LINES + 1):
        loss, norm = 3 + 0.1 * random.normal(), 1 + 0.1 * random.normal()
        book.append(Line(step, 0, loss, norm, 100.0, 5.5, 1e-2, 2048, "ab" * 8, True))
    book.close()
    lines = ledger.read(path)[0]

    def follow() -> None:
        history = History(Spikes(), lambda a, b: b - a)
        for line in lines:
            history.feed(observe(line))

    taken = in_turns(rounds, read=lambda: ledger.read(path), follow=follow)
    rate = (taken["read"] + taken["follow"]) / LINES
    print(
        f"ledger: {1e6 * taken['read'] / LINES:.0f} µs a line to read, {1e6 * taken['follow'] / LINES:.0f} to follow; "
        f"255,000 lines in {255_000 * rate:.0f} s"
    )


def main() -> None:
    """Runs all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        stores(Path(folder), rounds)
        digests(rounds)
        packs(Path(folder))
        ledgers(Path(folder), rounds)


if __name__ == "__main__":
    main()
