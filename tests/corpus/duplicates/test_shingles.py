"""Compares words and shingles with plain loops over characters and words."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.corpus.duplicates import shingles

ALPHABET = "aAbß1 \n.,-ée\u0301Жяシの中研タ한국กำ\u200b\u3000。"
texts = st.lists(st.text(ALPHABET, max_size=30), max_size=6)
UNSPACED = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI")


def plain_words(text: str, reading: shingles.Reading) -> list[str]:
    whole = unicodedata.normalize("NFC", text) if reading == "folded" else text
    found, word = [], ""
    for character in whole + " ":
        unspaced = unicodedata.name(character, "").startswith(UNSPACED)
        separates = character.isspace() or character == "\u200b"
        if reading == "folded":
            separates = not character.isalnum() and not unicodedata.category(character).startswith("M")
        if separates or unspaced:
            found += [word] if word else []
            found += [character] if unspaced else []
            word = ""
        else:
            word += character.lower() if reading == "folded" else character
    return found


@pytest.mark.parametrize("reading", ["folded", "verbatim"])
@given(texts=texts)
def test_words_are_those_of_a_plain_loop(reading: shingles.Reading, texts: list[str]) -> None:
    found = shingles.words(texts, reading)
    plain = [plain_words(text, reading) for text in texts]
    assert np.diff(found.ends, prepend=0).tolist() == [len(words) for words in plain]
    # Words have equal hashes if and only if they are equal.
    flat = [word for words in plain for word in words]
    assert len(set(found.hashes.tolist())) == len(set(flat)) == len(set(zip(flat, found.hashes.tolist(), strict=True)))
    if reading == "verbatim":
        owners = np.repeat(np.arange(len(texts)), np.diff(found.ends, prepend=0))
        places = zip(owners, found.starts, found.stops, strict=True)
        assert [texts[owner][start:stop] for owner, start, stop in places] == flat


@given(texts=texts, size=st.integers(1, 6))
def test_shingles_are_every_few_words_in_a_row(texts: list[str], size: int) -> None:
    hashes, ends = shingles.shingles(shingles.words(texts, "folded"), size)
    plain = []
    for text in texts:
        words = plain_words(text, "folded")
        plain.append([tuple(words[i : i + size]) for i in range(max(len(words) - size + 1, min(len(words), 1)))])
    assert np.diff(ends, prepend=0).tolist() == [len(grams) for grams in plain]
    flat = [gram for grams in plain for gram in grams]
    assert len(set(hashes.tolist())) == len(set(flat)) == len(set(zip(flat, hashes.tolist(), strict=True)))


@given(texts=texts, size=st.integers(1, 6))
def test_windows_are_whole_ones(texts: list[str], size: int) -> None:
    found = shingles.words(texts, "verbatim")
    hashes, of, places = shingles.windows(found, size)
    plain = []
    for number, text in enumerate(texts):
        words = plain_words(text, "verbatim")
        plain += [(number, i, tuple(words[i : i + size])) for i in range(len(words) - size + 1)]
    assert list(zip(of.tolist(), places.tolist(), strict=True)) == [(number, place) for number, place, _ in plain]
    grams = [gram for *_, gram in plain]
    assert len(set(hashes.tolist())) == len(set(grams)) == len(set(zip(grams, hashes.tolist(), strict=True)))


@pytest.mark.parametrize("words", [["word"] * 50_000, ["слово"] * 30_000, ["字"] * 200_000])
def test_long_texts_are_read_in_pieces_that_cut_no_word(words: list[str]) -> None:
    text = ("" if words[0] == "字" else " ").join(words)
    found = shingles.words(["before", text, "after"], "verbatim")
    assert np.diff(found.ends, prepend=0).tolist() == [1, len(words), 1]
    assert len(set(found.hashes[1:-1].tolist())) == 1
    assert text[found.starts[-2] : found.stops[-2]] == words[0]


def test_a_very_long_text_is_read() -> None:
    found = shingles.words(["x" * 1_000_000, ""], "folded")
    assert found.ends.tolist() == [16, 16]  # pieces of 2^16 characters


@given(st.lists(st.text("a", max_size=300_000), max_size=5))
def test_batches_are_the_texts_in_order(texts: list[str]) -> None:
    batches = list(shingles.batches(texts))
    assert [text for batch in batches for text in batch] == texts
    assert all(len(batch) == 1 or sum(map(len, batch)) <= 1 << 18 for batch in batches)
