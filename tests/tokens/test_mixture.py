"""Tests that every step's batch has the mixture's shares in expectation."""

from pathlib import Path

import numpy as np

from palmetto.corpus.documents import Document
from palmetto.tokens.order import Order
from palmetto.tokens.packing import pack
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary


def test_every_stretch_of_steps_has_the_shares_of_the_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = {"web": ["north", "south", "east", "west"], "books": ["Nord", "Süd", "Ost", "West"]}
    # The sources come one after another, as in a corpus; a third of the text is books, in longer documents.
    texts = [
        Document(" ".join(random.choice(words[source], length)), f"{source}:{number}")
        for source, count, length in (("web", 2000, 40), ("books", 200, 200))
        for number in range(count)
    ]
    vocabulary = Vocabulary.train((document.text for document in texts), 300, "bpe")
    stores = tmp_path / "train.bin", tmp_path / "validation.bin"
    pack(texts, vocabulary, *stores, sequence_length=32, validation_share=0.02, seed=0, source_fingerprint="")
    store = TokenStore.open(stores[0], vocabulary_digest=vocabulary.digest)
    pieces = {id for word in words["books"] for text in (word, f" {word}") for id in vocabulary.encode(text).tolist()}
    pieces -= {id for word in words["web"] for text in (word, f" {word}") for id in vocabulary.encode(text).tolist()}
    order = Order(store.windows, ((0, 16),), 0, 1)
    steps = order.steps_that_fit()
    assert steps > 100
    is_book = np.isin(store.stretch(0, store.header.tokens), list(pieces))
    starts = 32 * np.stack([order.sequence_numbers(step) for step in range(1, steps + 1)])
    shares = is_book[starts[:, :, None] + np.arange(32)].mean(axis=(1, 2))
    error = shares.std() / np.sqrt(steps / 4)
    for stretch in np.array_split(shares, 4):
        assert abs(stretch.mean() - is_book.mean()) < 4 * error
    assert error < 0.1 * is_book.mean(), "few enough to tell"
