"""Tests that the smallest vocabulary size is known without training."""

import pytest

from palmetto.tokens.training import SizeError
from palmetto.tokens.vocabulary import Vocabulary, least_size


@pytest.mark.parametrize(
    "text", ["ab ab\n", "한국어 텍스트, with words.\n" * 9, "".join(map(chr, range(0x4E00, 0x4F00)))]
)
def test_least_size_is_what_training_asks_for(text: str) -> None:
    with pytest.raises(SizeError) as refused:
        Vocabulary.train([text] * 3, 260, "bpe")
    assert refused.value.least == least_size([text] * 3)
