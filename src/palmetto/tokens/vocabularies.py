"""Reads the vocabulary of a run, of whichever kind."""

from pathlib import Path

from palmetto.tokens.vocabulary import Vocabulary, contents
from palmetto.tokens.wrapped import WrappedVocabulary


def load(path: Path) -> Vocabulary:
    """Reads a file that `Vocabulary.save` has written.

    Raises UserError if there is none, or it is neither a lossless sentencepiece model nor a wrapped tokenizer.
    """
    model = contents(path)
    return (WrappedVocabulary if model.startswith(b"{") else Vocabulary)(model, str(path))
