"""datasketch at near duplicates (see turns.py).

    python datasketch_corpus.py near FOLDER RESULT BANDS ROWS

Its MinHashLSH in memory, with xxhash for SHA-1; a document is dropped if one before it is connected with it. The ids go
to RESULT, what it prints to RESULT.log.
"""

# mypy: disable-error-code="import-not-found"

import json
import re
import sys
import time
from pathlib import Path

import pyarrow.parquet as parquet
import xxhash
from datasketch import MinHash, MinHashLSH
from turns import quiet, serve

WORDS = 5


def main(folder: str, result: str, bands: int, rows: int) -> None:
    blank = MinHash(num_perm=bands * rows, hashfunc=xxhash.xxh32_intdigest)

    def shingles(text: str) -> list[bytes]:
        words = re.findall(r"\w+", text.lower())
        return [" ".join(words[i : i + WORDS]).encode() for i in range(max(1, len(words) - WORDS + 1))]

    def dropped() -> set[str]:
        index = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
        parents: dict[str, str] = {}

        def root(name: str) -> str:
            while parents[name] != name:
                parents[name] = name = parents[parents[name]]
            return name

        for file in sorted(Path(folder).glob("*.parquet")):
            for batch in parquet.ParquetFile(file).iter_batches(columns=["id", "text"]):
                for name, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    signature = blank.copy()
                    signature.update_batch(shingles(text))
                    parents[name] = name
                    for other in index.query(signature):
                        parents[root(name)] = root(other)
                    index.insert(name, signature, check_duplication=False)
        return {name for name in parents if root(name) != name}

    def once() -> float:
        start = time.perf_counter()
        found = dropped()
        seconds = time.perf_counter() - start
        Path(result).write_text(json.dumps(sorted(found)))
        return seconds

    serve(once, quiet(f"{result}.log"))


if __name__ == "__main__":
    main(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
