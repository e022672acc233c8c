"""Tests that the corpus counts the tokens that a run will pack."""

from pathlib import Path

from palmetto.corpus.documents import cut
from palmetto.tokens.counting import Counter
from palmetto.tokens.vocabulary import Vocabulary


def test_counts_are_the_sections_tokens_with_an_end_each(tmp_path: Path) -> None:
    texts = ["a short line\n", "".join(f"line {number} of a longer text\n" for number in range(200)), "한국어 " * 50]
    counter = Counter("bpe", 300, 1000)
    counter.train(texts * 3, tmp_path / "vocabulary.model")
    vocabulary = Vocabulary.load(tmp_path / "vocabulary.model")
    assert vocabulary.size == 300
    expected = [sum(len(vocabulary.encode(section)) + 1 for section in cut(text, 1000)) for text in texts]
    assert counter.count(tmp_path / "vocabulary.model", texts) == expected
    assert len(cut(texts[1], 1000)) > 3
