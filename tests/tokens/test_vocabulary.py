"""Tests that every str and every bytes is restored exactly, and that training is deterministic."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.tokens.training import SizeError
from palmetto.tokens.vocabulary import Kind, Vocabulary
from tests.references.vocabularies import NASTY, TEXT, VOCABULARIES

anything = st.text(
    st.characters(exclude_categories=()) | st.characters(categories=["Cs"]) | st.sampled_from(" \n\t\0\u2581a1é")
)
phrases = st.lists(st.sampled_from(NASTY) | anything, max_size=6).map("".join)


@pytest.fixture(params=VOCABULARIES)
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return VOCABULARIES[request.param]


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_round_trip_of_any_text(kind: Kind) -> None:
    vocabulary = VOCABULARIES[kind]

    @settings(max_examples=300, deadline=None)
    @given(phrases)
    def check(text: str) -> None:
        ids = vocabulary.encode(text)
        assert vocabulary.decode(ids) == text
        assert vocabulary.eod not in ids
        assert 0 not in ids

    for text in [*NASTY, "x" * 70000 + "\n" + " " * 5000, "é\0" * 3000]:
        check = example(text)(check)
    check()


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_round_trip_of_any_bytes(kind: Kind) -> None:
    vocabulary = VOCABULARIES[kind]

    @settings(max_examples=300, deadline=None)
    @given(st.binary() | phrases.map(lambda text: text.encode("utf-8", "surrogatepass")))
    @example(bytes(range(256)))
    @example("é".encode()[:1] + b"\xa9")
    def check(data: bytes) -> None:
        ids = vocabulary.encode_bytes(data)
        assert vocabulary.decode_bytes(ids) == data
        assert vocabulary.decode(ids) == data.decode("utf-8", "surrogateescape")

    check()


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_a_model_says_its_kind(kind: Kind) -> None:
    assert VOCABULARIES[kind].kind == kind


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 399), max_size=40))
def test_whatever_a_model_writes_can_be_decoded(ids: list[int]) -> None:
    vocabulary = VOCABULARIES["bpe"]
    assert isinstance(vocabulary.decode(ids), str)
    assert isinstance(vocabulary.decode_bytes(ids), bytes)


def test_encoding_many_texts_equals_encoding_each(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*NASTY, TEXT]
    each = [vocabulary.encode(text) for text in texts]
    for cores in (1, 3, 16):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        for one, other in zip(each, vocabulary.encode_all(texts), strict=True):
            assert one.dtype == other.dtype == np.int32
            np.testing.assert_array_equal(one, other)
    assert vocabulary.encode_all([]) == []


def test_lines_are_encoded_independently() -> None:
    vocabulary = VOCABULARIES["bpe"]
    lines = TEXT.splitlines(keepends=True) * 40
    joined = np.concatenate([vocabulary.encode(line) for line in lines])
    np.testing.assert_array_equal(vocabulary.encode("".join(lines)), joined)


def pieces_of(vocabulary: Vocabulary, text: str) -> list[bytes]:
    pieces = list(vocabulary.pieces())
    return [pieces[id].data for id in vocabulary.encode(text)]


def test_what_is_a_piece(vocabulary: Vocabulary) -> None:
    assert pieces_of(vocabulary, "123.5")[-5:] == [b"1", b"2", b"3", b".", b"5"]
    assert pieces_of(vocabulary, "\n\t") == [b"\n", b"\t"]
    assert pieces_of(vocabulary, "\0\u2581") == [b"\0", *(bytes([b]) for b in "\u2581".encode())]
    assert pieces_of(vocabulary, "龍") == [bytes([b]) for b in "龍".encode()]
    assert len(pieces_of(vocabulary, "    ")) < 4
    listed = list(vocabulary.pieces())
    assert [piece.id for piece in listed] == list(range(vocabulary.size))
    assert sum(piece.kind == "byte" for piece in listed) == 256
    assert next(piece.id for piece in listed if piece.kind == "control") == vocabulary.eod
    assert not [
        piece for piece in listed if piece.kind == "text" and len(piece.data) > 1 and piece.data.strip().isdigit()
    ]


def test_ids_outside_the_vocabulary_are_refused(vocabulary: Vocabulary) -> None:
    for ids in ([1, vocabulary.size], [-1], np.array([3, 2**31 - 1], np.int32)):
        with pytest.raises(UserError, match=f"go from 0 to {vocabulary.size - 1}"):
            vocabulary.decode(ids)
        with pytest.raises(UserError, match="at place"):
            vocabulary.decode_bytes(ids)


def test_a_saved_model_is_plain_sentencepiece(tmp_path: Path, vocabulary: Vocabulary) -> None:
    path = tmp_path / "vocabulary.model"
    vocabulary.save(path)
    loaded = Vocabulary.load(path)
    assert (loaded.digest, loaded.size, loaded.eod) == (vocabulary.digest, vocabulary.size, vocabulary.eod)
    plain = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert plain.encode("the palm tree") == list(vocabulary.encode("the palm tree"))
    assert plain.id_to_piece(vocabulary.eod) == "[eod]"


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_training_again_gives_the_same_bytes(kind: Kind) -> None:
    expected = VOCABULARIES[kind]
    assert Vocabulary.train(iter([TEXT]), expected.size, kind).digest == expected.digest
    program = (
        "import sys; from palmetto.tokens.vocabulary import Vocabulary; text = sys.stdin.buffer.read().decode(); "
        f"print(Vocabulary.train([text], {expected.size}, {kind!r}).digest)"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONHASHSEED": "7",
        "OMP_NUM_THREADS": "1",
    }
    ran = subprocess.run([sys.executable, "-c", program], input=TEXT.encode(), env=environment, capture_output=True)
    assert ran.stdout.decode().strip() == expected.digest, ran.stderr.decode()
    assert ran.stderr == b""


def test_long_lines_and_reserved_characters_are_trained_on() -> None:
    word = "unforgettable"
    long_line = Vocabulary.train([f" {word}" * 5000], 285, "bpe")
    assert len(pieces_of(long_line, f" {word}")) <= 2
    beside = Vocabulary.train([f"\u2585{word}\u2581{word}\0{word}\ud800{word}\t{word}\n" * 20], 283, "bpe")
    assert len(pieces_of(beside, word)) <= 2


def test_text_that_names_the_control_symbols_does_no_harm() -> None:
    vocabulary = Vocabulary.train(["<unk> [eod] <0x41> [surrogate] " * 50 + TEXT], 350, "bpe")
    for text in ("<unk>", "[eod]", "<0x41>", "[surrogate]"):
        assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_a_size_that_does_not_fit_names_the_nearest(kind: Kind) -> None:
    with pytest.raises(SizeError, match=r"tokens\.vocabulary_size to at most \d+") as too_large:
        Vocabulary.train([TEXT], 100_000, kind)
    largest = too_large.value.largest
    assert largest is not None
    assert too_large.value.least is None
    assert str(largest) in str(too_large.value)
    assert Vocabulary.train([TEXT], largest, kind).size == largest
    with pytest.raises(SizeError) as just_too_large:
        Vocabulary.train([TEXT], largest + 1, kind)
    assert just_too_large.value.largest == largest
    with pytest.raises(SizeError, match=r"tokens\.vocabulary_size to at least \d+") as too_small:
        Vocabulary.train([TEXT], 262, kind)
    least = too_small.value.least
    assert least is not None
    with pytest.raises(SizeError):
        Vocabulary.train([TEXT], least - 1, kind)
    assert Vocabulary.train([TEXT], least, kind).size == least


@pytest.mark.parametrize("size", [-1, 0, 1, 2**31, 10**12])
def test_absurd_sizes_are_refused_alike(size: int) -> None:
    with pytest.raises(SizeError, match=f"a vocabulary of {size} pieces"):
        Vocabulary.train([TEXT], size, "bpe")


@pytest.mark.parametrize("texts", [[], [""], ["\n\n\t"], ["\u2581"]])
def test_no_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(UserError, match="no text to train a vocabulary on"):
        Vocabulary.train(texts, 300, "bpe")


def test_an_error_while_reading_the_text_comes_through() -> None:
    def texts() -> Iterator[str]:
        yield "some text"
        raise UserError("file.txt: damaged")

    with pytest.raises(UserError, match=r"^file\.txt: damaged$"):
        Vocabulary.train(texts(), 300, "bpe")
