"""From documents to the two token stores: split by content, shuffled once, encoded, joined by [eod]."""

import hashlib
import itertools
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.corpus.documents import Document, cut, cut_anywhere
from palmetto.errors import UserError
from palmetto.tokens import store
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary

# Enough text to keep all cores encoding, little enough to hold as Python integers.
_BATCH_BYTES = 8 << 20
_PARTS = 8
"""Of a text that has to be divided: enough for both halves."""


@dataclass(frozen=True)
class Half:
    """The counts of one store: `bytes` of text, `tokens` with an [eod] a document, `remainder` tokens in no window."""

    documents: int
    bytes: int
    tokens: int
    windows: int
    remainder: int
    bytes_per_token: float

    def __str__(self) -> str:
        return (
            f"{self.documents:,} documents, {self.bytes:,} bytes, {self.tokens:,} tokens "
            f"({self.bytes_per_token:.2f} bytes a token), {self.windows:,} windows, {self.remainder:,} tokens left over"
        )


@dataclass(frozen=True)
class Packed:
    """The counts of both stores."""

    train: Half
    validation: Half

    def __str__(self) -> str:
        return f"training: {self.train}; validation: {self.validation}"


class _Encoded(NamedTuple):
    """A document in the spool: its tokens are [start, start + tokens)."""

    digest: bytes
    bytes: int
    start: int
    tokens: int


def pack(
    documents: Iterable[Document],
    vocabulary: Vocabulary,
    train: Path,
    validation: Path,
    *,
    sequence_length: int,
    validation_share: float,
    seed: int,
    source_fingerprint: str,
) -> Packed:
    """Writes the stores `train` and `validation`, the same for the same documents in any order.

    Documents are read once and their tokens spooled to disk, so memory holds some bytes a document. UserError where
    the text is too little for a window in each half.
    """
    train.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=train.parent) as spool:
        encoded = []
        start = 0
        last = ""
        for document, ids in _encode(documents, vocabulary):
            last = document.text
            spool.write(ids.tobytes())
            encoded.append(_Encoded(_digest(document.text), document.size, start, len(ids)))
            start += len(ids)
        spool.flush()
        if len({document.digest for document in encoded}) < 2:
            raise _indivisible(last)
        held_out, kept = _split(encoded, validation_share, sequence_length)
        tokens: npt.NDArray[np.int32] = np.memmap(spool, np.int32, "r", shape=(start,))

        def write(path: Path, half: list[_Encoded]) -> Half:
            half = sorted(half, key=lambda document: _shuffle_key(seed, document))
            size = sum(document.bytes for document in half)
            header = store.write(
                path,
                (tokens[document.start : document.start + document.tokens] for document in half),
                vocabulary_size=vocabulary.size,
                sequence_length=sequence_length,
                documents=len(half),
                vocabulary_digest=vocabulary.digest,
                source_fingerprint=source_fingerprint,
            )
            return Half(len(half), size, header.tokens, header.windows, header.remainder, size / header.tokens)

        return Packed(train=write(train, kept), validation=write(validation, held_out))


def unigram_entropy(opened: TokenStore) -> float:
    """The entropy, in nats a token, of the store's own target tokens (every token of its windows but the very first).

    It is the loss of a model that knows how often each of these very tokens comes, and nothing else.
    """
    targets = opened.tokens[1 : opened.windows * opened.header.sequence_length + 1]
    _, counts = np.unique(targets, return_counts=True)
    shares = counts / len(targets)
    return math.fsum(-shares * np.log(shares))


def check_divisible(documents: Iterable[Document]) -> None:
    """UserError unless there are two different documents, one for each half; reads until there are."""
    last: str | None = None
    for document in documents:
        if last not in (None, document.text):
            return
        last = document.text
    raise _indivisible(last or "")


def _indivisible(text: str) -> UserError:
    """The refusal of a single text, with the sections, if any will do, that make it several different documents."""
    size = len(text.encode("utf-8", "surrogatepass")) // _PARTS
    while size:
        sections = cut(text, size)
        if len(set(sections if len(sections) > 1 else cut_anywhere(text, size))) > 1:
            break
        size //= 2
    advice = f", or lower corpus.section_bytes to {size}, so that this text becomes several documents" if size else ""
    return UserError(f"{int(bool(text))} different documents: training and validation need one each at least; give "
                     f"more text{advice}")  # fmt: skip


def _encode(documents: Iterable[Document], vocabulary: Vocabulary) -> Iterator[tuple[Document, npt.NDArray[np.int32]]]:
    """Yields each document with its ids, [eod] at their end."""
    end = np.array([vocabulary.eod], np.int32)
    for batch in _batches(documents):
        for document, ids in zip(batch, vocabulary.encode_all([document.text for document in batch]), strict=True):
            yield document, np.concatenate([ids, end])


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters >= _BATCH_BYTES:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _split(documents: list[_Encoded], share: float, sequence_length: int) -> tuple[list[_Encoded], list[_Encoded]]:
    """The validation documents, whose content hash is below `share` of its range, and the training documents.

    Copies stay together. Where validation would not fill a window, the documents of the next smallest hashes join it;
    where training would be left with nothing, validation starts from the smallest hash alone.
    """
    ordered = sorted(documents, key=lambda document: document.digest)
    groups = [list(copies) for _, copies in itertools.groupby(ordered, key=lambda document: document.digest)]
    assert len(groups) > 1, "a document for each half"
    count = sum(int.from_bytes(group[0].digest[:8]) < share * 2**64 for group in groups)
    if count == len(groups):
        count = 1
    needed = sequence_length + 1
    found = sum(_tokens(group) for group in groups[:count])
    while found < needed and count < len(groups) - 1:
        found += _tokens(groups[count])
        count += 1
    halves = [[document for group in part for document in group] for part in (groups[:count], groups[count:])]
    for name, half in zip(("validation", "training"), halves, strict=True):
        if _tokens(half) < needed:
            raise UserError(
                f"the {name} text has {_tokens(half)} tokens (of {_tokens(ordered)} in all), one window needs {needed} "
                "(tokens.sequence_length + 1): give more text, or lower tokens.sequence_length"
            )
    return halves[0], halves[1]


def _tokens(documents: list[_Encoded]) -> int:
    return sum(document.tokens for document in documents)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _shuffle_key(seed: int, document: _Encoded) -> bytes:
    return hashlib.sha256(f"shuffle {seed} ".encode() + document.digest).digest()
