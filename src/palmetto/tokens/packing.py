"""Packs documents into the two token stores: splits by content, shuffles once, encodes, and joins with [eod]."""

import hashlib
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from palmetto.corpus.documents import Document, cut, cut_anywhere
from palmetto.errors import UserError
from palmetto.files import naming
from palmetto.recipe.sense import LEAST_SECTION
from palmetto.tokens import store
from palmetto.tokens.marks import predicted, unmark
from palmetto.tokens.shuffle import Shuffle
from palmetto.tokens.split import Split
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary

# A batch keeps all cores encoding, and is small enough to hold as Python integers.
_BATCH_BYTES = 8 << 20
_BATCH_DOCUMENTS = 1 << 14
_PARTS = 8
"""The number of parts that a text is divided into if it must be: enough for both halves."""


@dataclass(frozen=True)
class Half:
    """Counts of one store.

    bytes: of text. tokens: with one [eod] per document. remainder: tokens in no window.
    """

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
    """Counts of both stores."""

    train: Half
    validation: Half

    def __str__(self) -> str:
        return f"training: {self.train}; validation: {self.validation}"


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
    """Writes the stores `train` and `validation`; they do not depend on the order of the documents.

    Documents are read once. Their tokens and the shuffle's records go to temporary files, so memory holds a batch of
    documents and one 64th of the records. Raises UserError if there is too little text for a window in each half.
    """
    train.parent.mkdir(parents=True, exist_ok=True)
    split = Split(validation_share, sequence_length + 1)
    with (
        naming(train),
        tempfile.TemporaryFile(dir=train.parent) as spool,
        Shuffle(train.parent, seed) as shuffle,
    ):
        start = 0
        last = ""
        for document, ids in _encode(documents, vocabulary):
            last = document.text
            spool.write(ids.tobytes())
            digest = _digest(document.text)
            split.add(digest, len(ids))
            shuffle.add(digest, document.size, start, len(ids))
            start += len(ids)
        spool.flush()
        if not split.has_two:
            raise _indivisible(last)
        boundary = split.boundary()
        tokens: npt.NDArray[np.int32] = np.memmap(spool, np.int32, "r", shape=(start,))

        def half(held_out: bool) -> Iterator[npt.NDArray[np.void]]:
            return (entries[(entries["digest"] < boundary) == held_out] for entries in shuffle)

        def write(path: Path, held_out: bool) -> Half:
            documents = sum(len(entries) for entries in half(held_out))
            size = sum(int(entries["bytes"].sum()) for entries in half(held_out))
            header = store.write(
                path,
                (
                    tokens[start : start + count]
                    for entries in half(held_out)
                    for start, count in zip(entries["start"].tolist(), entries["tokens"].tolist(), strict=True)
                ),
                vocabulary_size=vocabulary.size,
                sequence_length=sequence_length,
                documents=documents,
                vocabulary_digest=vocabulary.digest,
                source_fingerprint=source_fingerprint,
            )
            return Half(documents, size, header.tokens, header.windows, header.remainder, size / header.tokens)

        return Packed(train=write(train, False), validation=write(validation, True))


def unigram_entropy(opened: TokenStore) -> float:
    """Returns the entropy, in nats per token, of the store's target tokens: every token of its windows but the very
    first, or those that are marked to be predicted.

    It is the loss of a model that only knows how often each of these tokens occurs.
    """
    stored = opened.stretch_stored(1, opened.windows * opened.header.sequence_length + 1)
    targets = predicted(unmark(stored)) if opened.header.marked else stored
    _, counts = np.unique(targets, return_counts=True)
    shares = counts / len(targets)
    return math.fsum(-shares * np.log(shares))


def check_divisible(documents: Iterable[Document]) -> None:
    """Raises UserError unless there are two different documents, one for each half; stops reading at the second."""
    last: str | None = None
    for document in documents:
        if last not in (None, document.text):
            return
        last = document.text
    raise _indivisible(last or "")


def _indivisible(text: str) -> UserError:
    """Returns the error for a single text; it names the section size, if any, that makes it several different
    documents.
    """
    size = max(LEAST_SECTION, len(text.encode("utf-8", "surrogatepass")) // _PARTS)
    while size >= LEAST_SECTION:
        sections = cut(text, size)
        if len(set(sections if len(sections) > 1 else cut_anywhere(text, size))) > 1:
            break
        size //= 2
    works = size >= LEAST_SECTION
    advice = f", or lower corpus.section_bytes to {size}, so that this text becomes several documents" if works else ""
    return UserError(
        f"{int(bool(text))} different documents: training and validation need one each at least; give more text{advice}"
    )


def _encode(documents: Iterable[Document], vocabulary: Vocabulary) -> Iterator[tuple[Document, npt.NDArray[np.int32]]]:
    """Yields each document with its ids, ending in [eod]."""
    end = np.array(vocabulary.between, np.int32)
    for batch in _batches(documents):
        for document, ids in zip(batch, vocabulary.encode_all([document.text for document in batch]), strict=True):
            yield document, np.concatenate([ids, end])


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters >= _BATCH_BYTES or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
