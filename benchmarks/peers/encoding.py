"""HF tokenizers or plain sentencepiece, encoding texts (see turns.py).

    python encoding.py {tokenizers,sentencepiece} FOLDER SIZE RESULT

Trains on the texts of FOLDER/train, to SIZE pieces, as each does by itself (BPE of bytes; BPE with its own
normalization), then encodes those of FOLDER/test in batches. The number of tokens goes to RESULT, what it prints to
RESULT.log.
"""

# mypy: disable-error-code="import-not-found"

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as parquet
from turns import quiet, serve

BATCH = 1000
Encoder = Callable[[list[str]], int]
"""Encodes texts into lists of ids, and returns how many those are."""


def texts(folder: Path) -> list[str]:
    return [text for file in sorted(folder.glob("*.parquet")) for text in parquet.read_table(file)["text"].to_pylist()]


def tokenizers(train: list[str], size: int) -> Encoder:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(train, trainer)
    return lambda batch: sum(len(encoded.ids) for encoded in tokenizer.encode_batch_fast(batch))


def sentencepiece(train: list[str], size: int) -> Encoder:
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    lines = (line for text in train for line in text.splitlines())
    SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, model_type="bpe", vocab_size=size, byte_fallback=True
    )
    processor = SentencePieceProcessor(model_proto=model.getvalue())
    return lambda batch: sum(map(len, processor.encode(batch, num_threads=1)))


def main(name: str, folder: Path, size: int, result: Path) -> None:
    answers = quiet(f"{result}.log")
    encode = {"tokenizers": tokenizers, "sentencepiece": sentencepiece}[name](texts(folder / "train"), size)
    test = texts(folder / "test")

    def once() -> float:
        start = time.perf_counter()
        tokens = sum(encode(test[first : first + BATCH]) for first in range(0, len(test), BATCH))
        seconds = time.perf_counter() - start
        result.write_text(str(tokens))
        return seconds

    serve(once, answers)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
