"""Trains vocabularies of several sizes on all text of a folder, and measures their time, memory and bytes per token.

    python benchmarks/vocabulary.py [FOLDER] [--sizes 8192,32768,256000] [--kind bpe]

Each size is trained in its own process, which gives its own peak memory. 256k on 50 MB takes minutes.
"""

import argparse
import json
import multiprocessing
import re
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from palmetto.corpus.documents import Document
from palmetto.corpus.reading import formats
from palmetto.tokens.vocabulary import Kind, Vocabulary

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "data" / "corpus"
# Names of languages in file names, folders and records.
NAMES = {
    "en": "english",
    "de": "german",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "ja": "japanese",
    "ko": "korean",
    "pt": "portuguese",
    "ru": "russian",
    "uk": "ukrainian",
    "zh": "chinese",
    "fi": "finnish",
    "sv": "swedish",
}
CODES = {name: name for name in NAMES.values()} | NAMES


@dataclass(frozen=True)
class Result:
    """Measurements of one vocabulary: seconds to train and to encode, peak memory in MiB, bytes per token by
    language.
    """

    size: int
    training: float
    encoding: float
    memory: float
    bytes_per_token: dict[str, float]


def main() -> None:
    """Measures each size in turn and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=CORPUS)
    parser.add_argument("--sizes", default="8192,32768,256000")
    parser.add_argument("--kind", choices=["bpe", "unigram"], default="bpe")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    context = multiprocessing.get_context("spawn")
    results = []
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for size in sizes:
            result = processes.submit(measure, arguments.folder, size, arguments.kind).result()
            print(
                f"{arguments.kind} {size}: trained in {result.training:.1f} s, peak memory {result.memory:.0f} MiB, "
                f"encoded in {result.encoding:.1f} s",
                flush=True,
            )
            results.append(result)
    print(f"\n{'bytes a token':<16}{'text, kB':>12}" + "".join(f"{size:>12}" for size in sizes))
    amounts = by_language(arguments.folder)
    for language in [*sorted(amounts, key=lambda language: -bytes_of(amounts[language])), "all"]:
        amount = sum(map(bytes_of, amounts.values())) if language == "all" else bytes_of(amounts[language])
        row = "".join(f"{result.bytes_per_token[language]:>12.2f}" for result in results)
        print(f"{language:<16}{amount / 1000:>12.0f}{row}")


def measure(folder: Path, size: int, kind: Kind) -> Result:
    """Trains one vocabulary on everything and encodes everything with it."""
    languages = by_language(folder)
    everything = [document.text for documents in languages.values() for document in documents]
    start = time.perf_counter()
    vocabulary = Vocabulary.train(everything, size, kind)
    trained = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tokens = {language: count(vocabulary, documents) for language, documents in languages.items()}
    encoded = time.perf_counter()
    ratios = {language: bytes_of(documents) / tokens[language] for language, documents in languages.items()}
    ratios["all"] = sum(map(bytes_of, languages.values())) / sum(tokens.values())
    return Result(size, trained - start, encoded - trained, memory, ratios)


def count(vocabulary: Vocabulary, documents: list[Document]) -> int:
    """Returns the number of tokens of some documents."""
    batches = (documents[start : start + 1000] for start in range(0, len(documents), 1000))
    return sum(len(ids) for batch in batches for ids in vocabulary.encode_all([document.text for document in batch]))


def bytes_of(documents: list[Document]) -> int:
    """Returns the number of bytes of some documents."""
    return sum(document.size for document in documents)


def by_language(folder: Path) -> dict[str, list[Document]]:
    """Returns all text below a folder, whatever kind of file it is in, by its language ("code" for source code)."""
    languages = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            for lang, document in read(path, name):
                languages[lang or language_of(name)].append(document)
    return dict(languages)


def read(path: Path, name: str) -> Iterator[tuple[str | None, Document]]:
    """Yields (language if the record names it, document): .jsonl with every text field, .csv and .tsv unchanged."""
    if path.suffix == ".jsonl":
        for record in map(json.loads, path.read_bytes().splitlines()):
            text = "\n".join(
                value for key, value in record.items() if isinstance(value, str) and key not in ("id", "lang")
            )
            yield CODES.get(record.get("lang", ""), record.get("lang")), Document(text, name)
    elif formats.extension(name):
        yield from ((None, Document(text, part)) for part, text in formats.read(path, name))
    else:
        yield None, Document(path.read_bytes().decode("utf-8", "surrogateescape"), name)


def language_of(name: str) -> str:
    """Returns the language that a path names in one of its words; "code" for source code; English by default."""
    if name.startswith("code"):
        return "code"
    words = [CODES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in CODES]
    return words[0] if words else "english"


if __name__ == "__main__":
    main()
