"""datatrove at one stage of a corpus (see turns.py).

    python datatrove_corpus.py {near,exact,gopher} FOLDER RESULT BANDS ROWS

Its own tokenizers are linguistic ones; here it gets the fastest there is, so that words are those of the other
programs. Of its normalizations it does what the others do, and no more. The ids that it drops go to RESULT, what it
prints to RESULT.log.
"""

# mypy: disable-error-code="import-not-found, misc"

import json
import re
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    ExactDedupConfig,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer
from turns import quiet, serve

ASCII_WHITE = bytes(code for code in range(128) if chr(code).isspace())
WHITE = re.compile("[" + "".join(chr(code) for code in range(128, 0x3001) if chr(code).isspace()) + "]")


class Split(WordTokenizer):
    """Words as a regular expression finds them."""

    def __init__(self, pattern: str) -> None:
        super().__init__()
        self._find = re.compile(pattern).findall

    def word_tokenize(self, text: str) -> list[str]:
        return self._find(text)

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def normalized(document: Any) -> bytes:
    """Returns the text of a document, normalized as Palmetto's ExactDuplicates does it."""
    text = document.text
    if not text.isascii():
        text = WHITE.sub("", unicodedata.normalize("NFC", text))
    return text.encode().translate(None, ASCII_WHITE)


def main(stage: str, folder: str, result: str, bands: int, rows: int) -> None:
    files = sorted(Path(folder).glob("*.parquet"))
    ids = [parquet.read_table(file, columns=["id"])["id"].to_pylist() for file in files]

    def reader() -> ParquetReader:
        return ParquetReader(folder, read_metadata=False, glob_pattern="*.parquet")

    def run(work: Path, steps: list[Any], tasks: int) -> None:
        LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(work)).run()

    def places(pattern: str, work: Path) -> set[str]:
        """The ids in its lists of what is to be removed, a file for each that it has read."""
        return {
            ids[int(file.name.split(".")[0])][place]
            for file in work.rglob(pattern)
            for place in np.fromfile(file, "<u4").tolist()
        }

    def near(work: Path) -> set[str]:
        norm = TextNormConfig(norm_numbers=False, norm_unicode_diacritics=False)
        config = MinhashConfig(5, bands, rows, norm_config=norm)
        signed, matched, removed = (str(work / name) for name in ("signed", "matched", "removed"))
        run(work / "1", [reader(), MinhashDedupSignature(signed, config, Split(r"\S+"))], len(files))
        run(work / "2", [MinhashDedupBuckets(signed, matched, config=config)], bands)
        run(work / "3", [MinhashDedupCluster(matched, removed, config)], 1)
        return places("*.remove", work / "removed")

    def exact(work: Path) -> set[str]:
        config = ExactDedupConfig(normalized)
        signed, removed = str(work / "signed"), str(work / "removed")
        run(work / "1", [reader(), ExactDedupSignature(signed, config)], len(files))
        run(work / "2", [ExactFindDedups(signed, removed, config)], 1)
        return places("*.c4_dup", work / "removed")

    def gopher(work: Path) -> set[str]:
        words = Split(r"\S+")  # its own make a word of each punctuation mark, and too few with letters of most texts
        kept = set[str]()

        def keep(documents: Any, rank: int = 0, world_size: int = 1) -> Any:
            for document in documents:
                kept.add(document.id)
                yield document

        filters = [GopherQualityFilter(language=words), GopherRepetitionFilter(language=words)]
        run(work, [reader(), *filters, keep], len(files))
        return {name for part in ids for name in part} - kept

    def once() -> float:
        with tempfile.TemporaryDirectory() as work:
            start = time.perf_counter()
            dropped = {"near": near, "exact": exact, "gopher": gopher}[stage](Path(work))
            seconds = time.perf_counter() - start
        Path(result).write_text(json.dumps(sorted(dropped)))
        return seconds

    serve(once, quiet(f"{result}.log"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
