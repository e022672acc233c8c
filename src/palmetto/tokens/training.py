"""Trains sentencepiece in a separate process that can be stopped; its C++ code ignores signals until it is done.

The process reads its settings as one line of JSON, then one sentence per line and an empty line, and writes the model.
"""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from palmetto.errors import RunStopped, UserError
from palmetto.host import children

COMMAND = (sys.executable, "-P", "-m", "palmetto.tokens.training")

_REFUSED = 3
"""The exit code of a process that wrote sentencepiece's error message instead of a model."""


class SizeError(UserError):
    """Raised if the text does not allow a vocabulary size; `least` or `largest` is the nearest size that it allows."""

    def __init__(self, message: str, least: int | None = None, largest: int | None = None) -> None:
        super().__init__(message)
        self.least = least
        self.largest = largest


class Refused(Exception):
    """Raised with sentencepiece's message if it refuses to train."""


def train(sentences: Iterable[str], settings: Mapping[str, Any]) -> bytes:
    """Returns the serialized model trained on sentences, none of which is empty or contains a newline.

    Raises `Refused`, RunStopped if the process was killed, and whatever reading the sentences raises.
    """
    process = subprocess.Popen(
        [*COMMAND, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches only this process, which ends the other
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # the process has ended; its exit code tells why
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            for sentence in sentences:
                process.stdin.write(sentence.encode() + b"\n")
            process.stdin.write(b"\n")
            process.stdin.flush()
        answer = process.stdout.read()
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    if code < 0:
        raise RunStopped(
            f"the training of the vocabulary was ended by {signal.Signals(-code).name}: is there enough "
            "memory? The same command starts it again"
        )
    if code == _REFUSED:
        raise Refused(answer.decode())
    assert code == 0, f"the training of the vocabulary ended with exit code {code}"
    return answer


def explain(message: str, size: int) -> UserError:
    """Returns an error for sentencepiece's message that names a size that works."""
    if too_large := re.search(r"size too high .* <= (\d+)", message):
        largest = int(too_large[1])
        return SizeError(
            f"a vocabulary of {size} pieces is more than the text gives: set tokens.vocabulary_size to at most "
            f"{largest}, or give more text",
            largest=largest,
        )
    if too_small := re.search(r"required_chars\. -?\d+ vs (\d+)", message):
        least = int(too_small[1])
        return SizeError(
            f"a vocabulary of {size} pieces is too small for the characters of the text: set tokens.vocabulary_size "
            f"to at least {least}",
            least=least,
        )
    if "sentences_.empty()" in message:
        return UserError("no text to train a vocabulary on; give a source with text (--source PATH)")
    return UserError(f"a vocabulary of {size} pieces cannot be trained: {message}")


def main(parent: int) -> None:
    """Runs the training process."""
    children.end_with(parent)
    import sentencepiece

    def sentences() -> Iterator[bytes]:
        for line in sys.stdin.buffer:
            if line == b"\n":
                return
            yield line[:-1]
        os._exit(1)  # the parent has ended in the middle of the text

    settings, model = json.loads(sys.stdin.buffer.readline()), io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=sentences(), model_writer=model, **settings)
    except RuntimeError as error:
        sys.stdout.buffer.write(str(error).encode())
        sys.exit(_REFUSED)
    sys.stdout.buffer.write(model.getvalue())


if __name__ == "__main__":
    main(int(sys.argv[1]))
