"""Compares stages of a corpus with datatrove, text-dedup and datasketch: speed, and recall of planted duplicates.

    python benchmarks/corpus.py [FOLDER] [--documents 20000] [--rounds 3]

The stages are exact duplicates, near duplicates (5-grams of words, the same bands and rows, Jaccard similarity 0.8
where a program verifies it) and Gopher's filters. They read the same Parquet files and return the ids that are dropped.
The texts are a synthetic corpus with planted duplicates (planted.py), and all text in FOLDER, with long texts in
sections of 64 KiB. Each program runs in its own process on one core; they take turns within every round. Recall is the
share of planted pairs of a similarity of at least 0.8 of which one is dropped; precision is the share of dropped
documents that are in such a pair. The peers' virtual environment is made on first use. The last line is the smallest
ratio of bytes/s, Palmetto over a peer, each the median over the rounds.

    python benchmarks/corpus.py work STAGE FOLDER RESULT

runs Palmetto as such a program.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import planted
from peer_environment import python_of
from race import Runner, compare
from turns import serve
from vocabulary import by_language

from palmetto.corpus.duplicates.bands import best_shape
from palmetto.corpus.duplicates.exact import ExactDuplicates
from palmetto.corpus.duplicates.near import NearDuplicates
from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.rules.filters import Filters
from palmetto.corpus.stage import Stage, View, run
from palmetto.recipe.corpus import Filters as FilterSettings

HERE = Path(__file__).resolve().parent
PEER_ENVIRONMENT = HERE.parent / ".venv-corpus"
PEER_PACKAGES = (
    "datatrove[io,processing]==0.10.1",
    "datasketch==2.0.0",
    "text-dedup==0.4.0",
    "xxhash",
    "tokenizers==0.23.3",
    "sentencepiece==0.2.3",
)
THRESHOLD = 0.8
SHAPE = best_shape(THRESHOLD, 128)
STAGES: dict[str, Stage] = {
    "exact": ExactDuplicates(),
    "near": NearDuplicates(THRESHOLD, SHAPE.bands * SHAPE.rows),
    "gopher": Filters(FilterSettings(), {"benchmark": "gopher"}),
}
PEERS = {
    "exact": ("datatrove", "text_dedup"),
    "near": ("datatrove", "text_dedup", "datasketch"),
    "gopher": ("datatrove",),
}
_SHARDS = 4
_SECTION = 1 << 16


def peer_python() -> Path:
    """Returns the interpreter of the peers' environment, which is made if it does not exist."""
    return python_of(PEER_ENVIRONMENT, PEER_PACKAGES)


def work(stage: str, folder: Path, result: Path) -> None:
    """Runs Palmetto's stage."""
    view = View(folder, tuple(sorted(file.stem for file in folder.glob("*.parquet"))))

    def once() -> float:
        with tempfile.TemporaryDirectory() as workplace:
            start = time.perf_counter()
            done = run(STAGES[stage], view, "", Path(workplace), LocalEngine(1), lambda line: None)
            seconds = time.perf_counter() - start
            after = view.after(done.folder)
            kept = {name for shard in view.shards for name in after.read(shard, ["id"])["id"].to_pylist()}
        came = {name for shard in view.shards for name in view.read(shard, ["id"])["id"].to_pylist()}
        result.write_text(json.dumps(sorted(came - kept)))
        return seconds

    serve(once)


def race(stage: str, folder: Path, size: int, rounds: int, pairs: list[planted.Pair]) -> float:
    """Prints how fast the programs are and what they find; returns the smallest ratio."""
    results = {name: folder.parent / f"{folder.name}-{stage}-{name}.json" for name in ("palmetto", *PEERS[stage])}
    ours = [sys.executable, __file__, "work", stage, str(folder), str(results["palmetto"])]
    runners = [Runner("palmetto", ours, size)]
    for name in PEERS[stage]:
        script = str(HERE / "peers" / f"{name}_corpus.py")
        command = [str(peer_python()), script, stage, str(folder), str(results[name]), *map(str, SHAPE)]
        environment = [f"PYTHONPATH={HERE}", "TQDM_DISABLE=1", "HF_DATASETS_DISABLE_PROGRESS_BARS=1"]
        runners.append(Runner(name, ["env", *environment, *command], size))
    for _ in range(rounds):
        for runner in runners:
            runner.take(1)
    for runner in runners:
        runner.stop()
        dropped = set(json.loads(results[runner.name].read_text()))
        line = f"{runner.name:12} {statistics.median(runner.rates) / 1e6:8.2f} MB/s   {len(dropped):6} dropped"
        if pairs:
            recall, precision = found(dropped, pairs, 1.0 if stage == "exact" else THRESHOLD)
            line += f"   recall {recall:.4f}   precision {precision:.4f}"
        print(line)
    return min(compare(runners[0], peer) for peer in runners[1:])


def found(dropped: set[str], pairs: list[planted.Pair], least: float) -> tuple[float, float]:
    """Returns recall and precision."""
    true = [{pair.original, pair.copy} for pair in pairs if pair.similarity >= least]
    recall = sum(bool(pair & dropped) for pair in true) / len(true)
    precision = len(set.union(*true) & dropped) / max(1, len(dropped))
    return recall, precision


def sections(folder: Path, language: str | None) -> list[tuple[str, str]]:
    """Returns the texts below a folder, all or of one language, by id; long ones are cut."""
    documents = [
        document.text.encode(errors="replace").decode()
        for key, found in by_language(folder).items()
        if language in (None, key)
        for document in found
    ]
    cut = [text[start : start + _SECTION] for text in documents for start in range(0, len(text), _SECTION)]
    return [(f"{number:032x}", text) for number, text in enumerate(cut)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of texts; none: the synthetic corpus alone")
    parser.add_argument("--documents", type=int, default=20_000, help="of the synthetic corpus")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as temporary:
        synthetic = Path(temporary, "planted")
        texts, pairs = planted.texts(arguments.documents)
        size = planted.write_shards(synthetic, texts, _SHARDS)
        for stage in ("exact", "near"):
            print(f"{stage}, synthetic: {len(texts)} documents, {size / 1e6:.1f} MB")
            ratios.append(race(stage, synthetic, size, arguments.rounds, pairs))
        if arguments.folder is None or not arguments.folder.is_dir():
            print(f"{arguments.folder or 'no folder'}: not there, so real texts and Gopher's filters are left out")
        else:
            for stage, language in (("exact", None), ("near", None), ("gopher", "english")):
                real = Path(temporary, stage)
                texts = sections(arguments.folder, language)
                size = planted.write_shards(real, texts, _SHARDS, language and "en")
                print(f"{stage}, {arguments.folder.name}: {len(texts)} documents, {size / 1e6:.1f} MB")
                ratios.append(race(stage, real, size, arguments.rounds, []))
    print(f"ratio {min(ratios):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
