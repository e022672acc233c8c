"""Tests that models whose normalizer changes text are refused."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from palmetto.errors import UserError
from palmetto.tokens.training import SizeError
from palmetto.tokens.vocabulary import Vocabulary
from tests.references.vocabularies import NASTY, TEXT, VOCABULARIES


def foreign(**changes: Any) -> bytes:
    """Returns a model trained by sentencepiece with Palmetto's settings except for `changes`."""
    settings: dict[str, Any] = {
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "byte_fallback": True,
        "control_symbols": ["[eod]", "[surrogate]"],
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines()),
        model_writer=model,
        vocab_size=380,
        hard_vocab_limit=False,
        minloglevel=2,
        **(settings | changes),
    )
    return model.getvalue()


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"byte_fallback": False}, "a piece for every byte"),
        ({"control_symbols": ["[surrogate]"]}, "[eod]"),
        ({"control_symbols": [], "user_defined_symbols": ["[eod]", "[surrogate]"]}, "[eod], [surrogate]"),
        ({"normalization_rule_name": "nmt_nfkc"}, "a normalizer that changes nothing"),
        ({"normalization_rule_name": "nfkc_cf"}, "a normalizer that changes nothing"),
        ({"remove_extra_whitespaces": True}, "a normalizer that changes nothing"),
        ({"add_dummy_prefix": True}, "a normalizer that changes nothing"),
    ],
)
def test_a_model_that_is_not_lossless_is_refused(tmp_path: Path, changes: dict[str, Any], lacking: str) -> None:
    path = tmp_path / "other.model"
    path.write_bytes(foreign(**changes))
    with pytest.raises(UserError, match=r"not a lossless one") as caught:
        Vocabulary.load(path)
    assert str(path) in str(caught.value)
    assert f"it lacks {lacking}" in str(caught.value)


def test_settings_that_do_not_matter_are_taken() -> None:
    vocabulary = Vocabulary(foreign())
    assert all(vocabulary.decode(vocabulary.encode(text)) == text for text in NASTY)


def test_files_that_are_no_model_are_refused_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "whole.model"
    VOCABULARIES["bpe"].save(model)
    whole = model.read_bytes()
    damaged = [b"", b"garbage", os.urandom(500), whole[: len(whole) // 2], whole[:-1], b"\x00" + whole, b"\xff" * 40]
    for number, data in enumerate(damaged):
        path = tmp_path / f"{number}.model"
        path.write_bytes(data)
        with pytest.raises(UserError, match="not a sentencepiece model, or a damaged one") as caught:
            Vocabulary.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match=r"none\.model: cannot read the vocabulary \(No such file or directory\)"):
        Vocabulary.load(tmp_path / "none.model")
    with pytest.raises(SizeError):
        Vocabulary.train([TEXT], 10_000, "bpe")
    Vocabulary.train([TEXT], 400, "bpe")
    assert capfd.readouterr() == ("", "")
