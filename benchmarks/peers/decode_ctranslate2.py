"""CTranslate2 continues prompts on request (decode_cpu.py).

    decode_ctranslate2.py FOLDER float32|int8

"threads" is "1", "2", …, threads of one worker, or "1x2", …, workers of one thread each, which share a batch.
"""

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

import ctranslate2
from asked import answer

FOLDER, TYPE = sys.argv[1:3]
PIECES: list[str] = json.loads((Path(FOLDER) / "vocabulary.json").read_text())
NUMBERS = {piece: number for number, piece in enumerate(PIECES)}


@functools.cache
def opened(threads: str) -> tuple[ctranslate2.Generator, int]:
    """Returns a generator and the number of its workers."""
    each, _, workers = threads.partition("x")
    count = int(workers or 1)
    settings = {"inter_threads": count, "intra_threads": int(each), "compute_type": TYPE}
    return ctranslate2.Generator(FOLDER, device="cpu", **settings), count


def continued(question: dict[str, Any]) -> dict[str, Any]:
    generator, workers = opened(question["threads"])
    prompts = [[PIECES[token] for token in prompt] for prompt in question["prompts"]]
    new = question["new"]
    start = time.perf_counter()
    results = generator.generate_batch(
        prompts,
        max_length=new,
        min_length=new,
        sampling_topk=1,
        include_prompt_in_result=False,
        max_batch_size=-(-len(prompts) // workers),
    )
    seconds = time.perf_counter() - start
    tokens = [NUMBERS[piece] for piece in results[0].sequences[0]]
    assert all(len(result.sequences[0]) == new for result in results)
    return {"seconds": seconds, "tokens": tokens}


if __name__ == "__main__":
    answer(continued)
