"""Tests that the split, the shuffle and the counts do not depend on the order of documents."""

import math
import random
import re
from pathlib import Path

import numpy as np
import pytest

from palmetto.corpus import documents
from palmetto.corpus.documents import Document
from palmetto.errors import UserError
from palmetto.tokens import packing
from palmetto.tokens.packing import Packed
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary

WORDS = ("palm", "tree", "spine", "token", "store", "order", "window", "batch", "é", "\udcff", "\n")
CHOICES = random.Random(0)
DOCUMENTS = [Document(" ".join(CHOICES.choices(WORDS, k=CHOICES.randint(1, 60))), f"{i}.txt") for i in range(400)]
VOCABULARY = Vocabulary.train((document.text for document in DOCUMENTS), 320, "bpe")


ONE_LINE = " ".join(f"word{number}" for number in range(900))


def pack(
    folder: Path, documents: list[Document], share: float = 0.1, seed: int = 0, sequence_length: int = 16
) -> Packed:
    return packing.pack(
        iter(documents),
        VOCABULARY,
        folder / "train",
        folder / "validation",
        sequence_length=sequence_length,
        validation_share=share,
        seed=seed,
        source_fingerprint="f",
    )


def texts(path: Path) -> list[str]:
    """Returns the documents of a store in its order."""
    opened = TokenStore.open(path, vocabulary_digest=VOCABULARY.digest)
    tokens = opened.stretch(0, opened.header.tokens)
    parts = np.split(tokens, np.flatnonzero(tokens == VOCABULARY.eod) + 1)
    assert len(parts[-1]) == 0
    return [VOCABULARY.decode(part[:-1]) for part in parts[:-1]]


def test_every_document_is_in_one_half_and_counted(tmp_path: Path) -> None:
    packed = pack(tmp_path, DOCUMENTS)
    train, validation = texts(tmp_path / "train"), texts(tmp_path / "validation")
    assert sorted(train + validation) == sorted(document.text for document in DOCUMENTS)
    assert not set(train) & set(validation)
    assert 20 <= len(validation) <= 60
    assert sum(document.size for document in DOCUMENTS) == packed.train.bytes + packed.validation.bytes
    for half, held, name in ((packed.train, train, "train"), (packed.validation, validation, "validation")):
        opened = TokenStore.open(tmp_path / name)
        assert half.documents == opened.header.documents == len(held)
        assert half.tokens == opened.header.tokens == sum(len(VOCABULARY.encode(text)) + 1 for text in held)
        assert (half.windows, half.remainder) == (opened.windows, opened.header.remainder)
        assert half.bytes_per_token == half.bytes / half.tokens
        assert opened.header.source_fingerprint == "f"
    assert f"{packed.train.windows:,} windows" in str(packed)


def test_order_and_names_of_documents_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = [Document(document.text, "other") for document in random.Random(1).sample(DOCUMENTS, len(DOCUMENTS))]
    pack(tmp_path / "one", DOCUMENTS)
    monkeypatch.setattr(packing, "_BATCH_BYTES", 1000)
    pack(tmp_path / "two", shuffled)
    for name in ("train", "validation"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["train", "validation"]


def test_documents_are_shuffled_by_the_seed_and_split_without_it(tmp_path: Path) -> None:
    for seed in (0, 1):
        pack(tmp_path / str(seed), DOCUMENTS, seed=seed)
    first, second = texts(tmp_path / "0" / "train"), texts(tmp_path / "1" / "train")
    assert first != second
    assert sorted(first) == sorted(second)
    given = [document.text for document in DOCUMENTS if document.text in set(first)]
    for order in (first, second):
        assert sum(a == b for a, b in zip(order, given, strict=True)) < 20


def test_a_document_stays_in_its_half_as_others_come(tmp_path: Path) -> None:
    pack(tmp_path / "some", DOCUMENTS[:200])
    pack(tmp_path / "all", DOCUMENTS)
    assert set(texts(tmp_path / "some" / "validation")) <= set(texts(tmp_path / "all" / "validation"))


def test_copies_stay_together(tmp_path: Path) -> None:
    packed = pack(tmp_path, DOCUMENTS[:40] * 3, share=0.5)
    assert not set(texts(tmp_path / "train")) & set(texts(tmp_path / "validation"))
    assert packed.train.documents + packed.validation.documents == 120


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_a_share_that_leaves_a_half_empty_leaves_it_something(tmp_path: Path, share: float) -> None:
    packed = pack(tmp_path, DOCUMENTS, share)
    assert packed.train.windows > packed.validation.windows >= 1


def test_two_documents_are_enough_and_one_is_not(tmp_path: Path) -> None:
    two = [Document("palm " * 50, "a"), Document("tree " * 50, "b")]
    packed = pack(tmp_path, two)
    assert (packed.train.documents, packed.validation.documents) == (1, 1)
    for same in (two[:1], two[:1] * 2):
        with pytest.raises(
            UserError, match=r"one each at least; give more text, or lower corpus\.section_bytes to 64,"
        ):
            pack(tmp_path / "none", same)
    # For so little text, recipes do not allow sections that are short enough.
    for little in ([], [Document("ba be bi", "a")]):
        with pytest.raises(UserError, match=r"one each at least; give more text$"):
            pack(tmp_path / "none", little)
    assert not list((tmp_path / "none").iterdir())


@pytest.mark.parametrize("text", [ONE_LINE, ONE_LINE.replace(" ", ""), "palm\ntree " * 500])
def test_the_advice_for_one_text_works(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)

    def read(section_bytes: int) -> list[Document]:
        return list(documents.read(str(tmp_path / "a.txt"), section_bytes))

    with pytest.raises(UserError) as caught:
        pack(tmp_path / "tokens", read(1 << 16))
    with pytest.raises(UserError) as early:
        packing.check_divisible(read(1 << 16))
    assert str(early.value) == str(caught.value)
    found = re.search(r"lower corpus\.section_bytes to (\d+)", str(caught.value))
    assert found is not None
    packing.check_divisible(read(int(found[1])))
    packed = pack(tmp_path / "tokens", read(int(found[1])))
    assert packed.train.documents > 1


def test_too_little_text_for_a_window_names_what_it_takes(tmp_path: Path) -> None:
    short = [Document("palm tree", "a"), Document("token store", "b")]
    with pytest.raises(UserError, match=r"text has \d+ tokens \(of \d+ in all\), one window needs 17 .*lower tokens\."):
        pack(tmp_path, short)


def test_unigram_entropy_is_that_of_the_targets(tmp_path: Path) -> None:
    pack(tmp_path, DOCUMENTS)
    opened = TokenStore.open(tmp_path / "validation")
    targets = opened.read(np.arange(opened.windows))[:, 1:].reshape(-1)
    shares = [float((targets == token).mean()) for token in set(targets.tolist())]
    assert packing.unigram_entropy(opened) == pytest.approx(
        -sum(share * math.log(share) for share in shares), rel=1e-12
    )
