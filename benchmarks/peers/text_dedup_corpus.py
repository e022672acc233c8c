"""text-dedup at exact or near duplicates (see turns.py).

    python text_dedup_corpus.py {near,exact} FOLDER RESULT BANDS ROWS

The ids that it drops go to RESULT, what it prints to RESULT.log. Of exact duplicates it drops equal bytes.
"""

# mypy: disable-error-code="import-not-found"

import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

import datasets
import pyarrow.parquet as parquet
from turns import quiet, serve


def main(stage: str, folder: str, result: str, bands: int, rows: int) -> None:
    ids = {name for file in Path(folder).glob("*.parquet") for name in parquet.read_table(file)["id"].to_pylist()}
    program = importlib.import_module({"near": "text_dedup.minhash", "exact": "text_dedup.exact_hash"}[stage])
    options = ["--path", "parquet", "--data_dir", folder, "--split", "train", "--column", "text", "--num_proc", "1"]
    if stage == "near":
        options += ["--ngram", "5", "--num_perm", str(bands * rows), "--b", str(bands), "--r", str(rows)]
        options += ["--min_length", "1", "--hash_func", "xxh3"]
    else:
        options += ["--hash_func", "xxh3"]

    def once() -> float:
        with tempfile.TemporaryDirectory() as work:
            start = time.perf_counter()
            program.main([*options, "--cache_dir", f"{work}/cache", "--output", f"{work}/out"], standalone_mode=False)
            seconds = time.perf_counter() - start
            kept = set(datasets.load_from_disk(f"{work}/out")["id"])
        Path(result).write_text(json.dumps(sorted(ids - kept)))
        return seconds

    serve(once, quiet(f"{result}.log"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
