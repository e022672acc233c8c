"""Compares encoding speed with HF tokenizers and plain sentencepiece, at the same vocabulary size and training text.

    python benchmarks/tokenization.py [FOLDER] [--size 8192] [--rounds 3] [--megabytes 8]

The text is all text in FOLDER, with long texts in sections of 64 KiB. Each program trains a byte-pair encoding on some
of it and encodes as much again, in its own process on one core; they take turns within every round. Palmetto restores
every byte, and so do HF tokenizers, whose pieces are of bytes; plain sentencepiece normalizes. The peers' environment
is that of corpus.py. The last line is the ratio of bytes/s, Palmetto over the faster of the two, the median over the
rounds.

    python benchmarks/tokenization.py work FOLDER SIZE RESULT

runs Palmetto as such a program.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import planted
from corpus import peer_python, sections
from race import Runner, compare
from turns import serve
from vocabulary import CORPUS

from palmetto.corpus import tables
from palmetto.tokens.vocabulary import Vocabulary

HERE = Path(__file__).resolve().parent
PEERS = ("tokenizers", "sentencepiece")
BATCH = 1000


def work(folder: Path, size: int, result: Path) -> None:
    """Runs Palmetto's training and encoding."""
    train, test = (
        [text for file in sorted((folder / part).glob("*.parquet")) for text in tables.read(file)["text"].to_pylist()]
        for part in ("train", "test")
    )
    vocabulary = Vocabulary.train(train, size, "bpe")

    def once() -> float:
        start = time.perf_counter()
        tokens = sum(
            len(ids)
            for first in range(0, len(test), BATCH)
            for ids in vocabulary.encode_all(test[first : first + BATCH])
        )
        seconds = time.perf_counter() - start
        result.write_text(str(tokens))
        return seconds

    serve(once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=CORPUS)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=8, help="to train on, and to encode")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        sys.exit(f"{arguments.folder}: no such folder; there is nothing to encode")
    texts = sections(arguments.folder, None)
    random.Random(0).shuffle(texts)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = 0
        for part in ("train", "test"):
            size = planted.write_shards(folder / part, take(texts, arguments.megabytes * 1e6), 1)
        runners = []
        for name in ("palmetto", *PEERS):
            rest = [str(folder), str(arguments.size), str(folder / name)]
            command = [str(peer_python()), str(HERE / "peers" / "encoding.py"), name, *rest]
            environment = ["env", f"PYTHONPATH={HERE}", "TOKENIZERS_PARALLELISM=false"]
            ours = [sys.executable, __file__, "work", *rest]
            runners.append(Runner(name, ours if name == "palmetto" else [*environment, *command], size))
        for _ in range(arguments.rounds):
            for runner in runners:
                runner.take(1)
        for runner in runners:
            runner.stop()
            tokens = int((folder / runner.name).read_text())
            speed = statistics.median(runner.rates) / 1e6
            print(f"{runner.name:14} {speed:7.2f} MB/s   {size / tokens:.3f} bytes a token")
        print(f"ratio {min(compare(runners[0], peer) for peer in runners[1:]):.2f}")


def take(texts: list[tuple[str, str]], size: float) -> list[tuple[str, str]]:
    """Removes texts of the given size in bytes from the end of the list."""
    taken = []
    while texts and size > 0:
        taken.append(texts.pop())
        size -= len(taken[-1][1].encode())
    return taken


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
