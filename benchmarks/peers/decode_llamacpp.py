"""llama.cpp continues prompts on request (decode_cpu.py), by the functions of its library.

    decode_llamacpp.py FOLDER float32|int8

int8 is its q8_0, quantized by the library itself. Keys and values have its default type, float16.
"""

import ctypes
import functools
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from asked import answer

FOLDER, TYPE = sys.argv[1:3]
CONTEXT, SEQUENCES, BATCH = 320, 64, 512
"""The positions of a sequence, the most sequences, and the tokens of a step."""


def model_file() -> Path:
    """Returns the file of the weights in their type."""
    plain = Path(FOLDER) / "model.gguf"
    if TYPE == "float32":
        return plain
    quantized = Path(FOLDER) / "model-q8_0.gguf"
    if not quantized.exists():
        settings = llama_cpp.llama_model_quantize_default_params()
        settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
        settings.pure = False
        done = llama_cpp.llama_model_quantize(str(plain).encode(), str(quantized).encode(), ctypes.byref(settings))
        assert done == 0, "quantized"
    return quantized


@functools.cache
def opened(sequences: int, positions: int) -> tuple[Any, Any]:
    """Returns the model and a context for so many sequences of so many positions."""
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = sequences * positions
    settings.n_batch = settings.n_ubatch = BATCH
    settings.n_seq_max = sequences
    settings.kv_unified = False
    context = llama_cpp.llama_init_from_model(loaded(), settings)
    assert context, "a context"
    return loaded(), context


@functools.cache
def loaded() -> Any:
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(model_file()).encode(), llama_cpp.llama_model_default_params())
    assert model, "a model"
    return model


def continued(question: dict[str, Any]) -> dict[str, Any]:
    prompts, new, threads = question["prompts"], question["new"], int(question["threads"])
    positions = -(-(len(prompts[0]) + new) // 256) * 256
    model, context = opened(len(prompts), positions)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    llama_cpp.llama_set_n_threads(context, threads, threads)
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    batch = llama_cpp.llama_batch_init(BATCH, 0, 1)

    def compute(entries: list[tuple[int, int, int, bool]]) -> None:
        """Computes (token, position, sequence, whether its logits are wanted) of each row."""
        batch.n_tokens = len(entries)
        for row, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[row], batch.pos[row], batch.logits[row] = token, position, wanted
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
        assert llama_cpp.llama_decode(context, batch) == 0, "decoded"

    def best(row: int) -> int:
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, row), (vocabulary,))
        return int(logits.argmax())

    start, tokens = time.perf_counter(), [list[int]() for _ in prompts]
    for first in range(0, len(prompts), max(1, BATCH // len(prompts[0]))):
        some = range(first, min(len(prompts), first + max(1, BATCH // len(prompts[0]))))
        entries = [
            (token, position, sequence, position + 1 == len(prompts[sequence]))
            for sequence in some
            for position, token in enumerate(prompts[sequence])
        ]
        compute(entries)
        for row, entry in enumerate(entries):
            if entry[3]:
                tokens[entry[2]].append(best(row))
    for position in range(len(prompts[0]), len(prompts[0]) + new - 1):
        compute([(own[-1], position, sequence, True) for sequence, own in enumerate(tokens)])
        for row, own in enumerate(tokens):
            own.append(best(row))
    seconds = time.perf_counter() - start
    llama_cpp.llama_batch_free(batch)
    return {"seconds": seconds, "tokens": tokens[0]}


if __name__ == "__main__":
    answer(continued)
