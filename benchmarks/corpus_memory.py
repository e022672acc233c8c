"""Measures the memory and time of building a synthetic corpus, and how the cost of each stage grows with the text.

    python benchmarks/corpus_memory.py FOLDER [--gigabytes 1] [--workers 2] [--cores 100,1000]

The program writes text into FOLDER once (several sources, 5 % of the documents copies, an evaluation set with some
questions from the text). It builds a corpus of a quarter of it, then of all, with every stage. It prints the peak
memory of all processes together for both builds. For each stage it prints the MB/s per core, the seconds of all cores
and of the one process that submits tasks ("alone", which more cores do not shorten), how their sum grows with the text
(1: in proportion), and how long 1 TB and 100 TB would take on the given cores at the cost of the last three quarters.
The last line is the peak memory in GiB. Shared pages are counted for each process, so the true peak is lower. 10 GB
need 40 GB of disk.
"""

import argparse
import json
import math
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from palmetto.corpus.build import build
from palmetto.corpus.engine import Engine, LocalEngine
from palmetto.recipe.corpus import Build
from palmetto.tokens.counting import Counter

Task = TypeVar("Task")
Result = TypeVar("Result")
SOURCES = ("web", "books", "news")
FILE_BYTES = 16 << 20
STOP_WORDS = ["the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "with", "as", "be", "have"]
VOCABULARY = 50_000
COPIES = 0.05
TERABYTE = 1e6
"""A terabyte in MB."""


def main() -> None:
    """Writes the text, builds twice and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cores", default="100,1000")
    arguments = parser.parse_args()
    files = math.ceil(arguments.gigabytes * 1e9 / FILE_BYTES / 4 / len(SOURCES)) * 4 * len(SOURCES)
    write_text(arguments.folder / "raw", files)
    few, many = (measure(arguments.folder, part, arguments.workers) for part in (files // 4, files))
    print(
        f"\n{many.size / 1e9:.2f} GB of text; peak memory {many.peak:.2f} GiB on {arguments.workers} workers, "
        f"{few.peak:.2f} for a quarter of it"
    )
    print(table(few, many, [int(cores) for cores in arguments.cores.split(",")]))
    print(f"{many.peak:.2f}")


def write_text(folder: Path, files: int) -> None:
    """Writes files of about FILE_BYTES for each source in turn, unless they exist; the bytes are always the same."""
    random = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    lengths = random.integers(2, 11, VOCABULARY)
    words = STOP_WORDS + ["".join(random.choice(letters, length)) for length in lengths]
    ranks = 1 / np.arange(2, len(words) + 2)
    bounds = np.cumsum(ranks / ranks.sum())
    vocabulary = np.array(words, object)
    for number in range(files):
        path = folder / SOURCES[number % len(SOURCES)] / f"{number:06}.jsonl"
        texts = _texts(np.random.default_rng(number), vocabulary, bounds)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            with partial.open("w") as file:
                while file.tell() < FILE_BYTES:
                    file.write(json.dumps({"text": next(texts)}) + "\n")
            partial.replace(path)
    questions = []
    for number in range(100):  # each file holds one, as far as there are files
        text = next(_texts(np.random.default_rng(number), vocabulary, bounds))
        questions.append(json.dumps({"question": text[100:300]}) + "\n")
    (folder / "quiz.jsonl").write_text("".join(questions))


def _texts(random: np.random.Generator, vocabulary: Any, bounds: Any) -> Iterator[str]:
    """Yields texts of 100 to 2000 words, some of them copies of earlier ones."""
    kept: list[str] = []
    while True:
        drawn = vocabulary[np.minimum(np.searchsorted(bounds, random.random(1 << 16)), len(vocabulary) - 1)].tolist()
        start = 0
        while start < len(drawn):
            length = int(np.exp(random.uniform(np.log(100), np.log(2000))))
            if kept and random.random() < COPIES:
                yield kept[int(random.integers(len(kept)))]
                continue
            words = drawn[start : start + length]
            start += length
            text = " ".join(" ".join(words[i : i + 14]).capitalize() + "." for i in range(0, len(words), 14))
            if len(kept) < 1000:
                kept.append(text)
            yield text


@dataclass
class Cost:
    """The cost of a stage: seconds of the workers' cores and of the process that submits tasks, and MB of incoming
    text.
    """

    cores: float = 0.0
    alone: float = 0.0
    megabytes: float = 0.0


@dataclass
class Measured:
    """A build: bytes of text, the peak of memory in GiB, and each stage's cost."""

    size: int
    peak: float = 0.0
    stages: dict[str, Cost] = field(default_factory=dict)


def measure(folder: Path, files: int, workers: int) -> Measured:
    """Builds a corpus of the first files in a process of its own and watches its process tree."""
    print(f"building {files} files", flush=True)
    out = folder / f"corpus-{files}"
    shutil.rmtree(out, ignore_errors=True)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_build, args=(folder / "raw", files, workers, out, theirs))
    process.start()
    theirs.close()
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            peak[0] = max(peak[0], resident(process.pid or 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        measured: Measured = ours.recv()
    finally:
        ended.set()
        watcher.join()
        process.join()
    measured.peak = peak[0] / 2**30
    shutil.rmtree(out)
    return measured


def resident(process: int) -> int:
    """Returns the bytes in memory of a process and all its descendants."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)


def _build(raw: Path, files: int, workers: int, out: Path, answer: Any) -> None:
    paths: dict[str, list[str]] = {source: [] for source in SOURCES}
    for path in sorted(raw.glob("*/*.jsonl"), key=lambda path: path.name)[:files]:
        paths[path.parent.name].append(str(path.relative_to(raw)))
    recipe = Build.model_validate(
        {
            "root": str(raw),
            "sources": {source: {"paths": paths[source]} for source in SOURCES},
            "duplicates": {"span": 50},
            "contamination": {"evaluation": ["quiz.jsonl"]},
        }
    )
    measured = Measured(sum((raw / path).stat().st_size for of_source in paths.values() for path in of_source))
    last = Last(measured)

    def watch(engine: Engine, stage: str) -> Engine:
        return Timed(engine, last.begin(stage))

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith("vocabulary:"):
            last.begin("vocabulary")

    with LocalEngine(workers) as engine:
        manifest = build(recipe, Counter("bpe", 8192, 65536), out, engine, say, watch)
    last.begin("end")
    for stage in manifest["stages"]:
        measured.stages[stage["name"]].megabytes = sum(size for _, size in stage["before"].values()) / 1e6
    measured.stages["alphabet"].megabytes = measured.stages["language"].megabytes
    measured.stages["sample"].megabytes = measured.stages["tokens"].megabytes
    measured.stages["writing"].megabytes = sum(size for _, size in manifest["stages"][-1]["after"].values()) / 1e6
    del measured.stages["end"]
    answer.send(measured)


class Last:
    """The stage that is running."""

    def __init__(self, measured: Measured) -> None:
        self._measured, self._stage, self._start = measured, "", time.process_time()

    def begin(self, stage: str) -> Cost:
        """Ends the previous stage."""
        now = time.process_time()
        if self._stage:
            self._measured.stages[self._stage].alone += now - self._start
        self._stage, self._start = stage, now
        return self._measured.stages.setdefault(stage, Cost())


class Timed:
    """An engine that sums the time its tasks take."""

    def __init__(self, engine: Engine, cost: Cost) -> None:
        self._engine, self._cost = engine, cost

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yields the results in the order of the tasks, as `Engine.map` does."""
        for result, seconds, process in self._engine.map(_Timing(function), tasks):
            if process != os.getpid():
                self._cost.cores += seconds
            yield result


@dataclass(frozen=True)
class _Timing:
    """A function that also returns its time and the process it ran in."""

    function: Callable[[Any], Any]

    def __call__(self, task: Any) -> tuple[Any, float, int]:
        start = time.process_time()
        result = self.function(task)
        return result, time.process_time() - start, os.getpid()


def table(few: Measured, many: Measured, cores: Sequence[int]) -> str:
    """Prints a line per stage."""
    header = f"{'stage':18}{'MB in':>9}{'MB/s a core':>13}{'core s':>9}{'alone s':>9}{'grows':>7}"
    lines = [header + "".join(f"{f'{size} TB, {count}':>14}" for size in (1, 100) for count in cores)]
    total = dict.fromkeys([(size, count) for size in (1, 100) for count in cores], 0.0)
    for name, cost in many.stages.items():
        before = few.stages[name]
        spent, spent_before = cost.cores + cost.alone, before.cores + before.alone
        more = cost.megabytes / before.megabytes if before.megabytes else 1.0
        grows = f"{math.log(spent / spent_before) / math.log(more):.2f}" if more > 1 and spent_before else ""
        rate = f"{cost.megabytes / spent:,.1f}" if cost.megabytes else ""
        line = f"{name:18}{cost.megabytes:9,.0f}{rate:>13}{cost.cores:9,.1f}{cost.alone:9,.1f}{grows:>7}"
        for size, count in total if cost.megabytes else ():
            # What is the same for a quarter and for all (imports, tables) does not grow.
            grown = max(0.0, cost.cores - before.cores) / count + max(0.0, cost.alone - before.alone)
            hours = grown / (many.size - few.size) * 1e6 * size * TERABYTE / 3600
            total[size, count] += hours
            line += f"{_duration(hours):>14}"
        lines.append(line)
    lines.append(f"{'all':65}" + "".join(f"{_duration(hours):>14}" for hours in total.values()))
    return "\n".join(lines)


def _duration(hours: float) -> str:
    return f"{hours / 24:,.1f} d" if hours >= 48 else f"{hours:,.1f} h"


if __name__ == "__main__":
    main()
