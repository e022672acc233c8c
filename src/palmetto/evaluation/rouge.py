"""Computes ROUGE (Lin, 2004) with rouge-score, against the reference with which each kind is best."""

import functools
import re
from collections.abc import Sequence
from typing import Any, Literal

from palmetto.corpus.extras import need

KINDS = ("rouge1", "rouge2", "rougeLsum")
Tokens = Literal["plain", "stems", "words"]
"""The units compared: runs of Latin letters and digits, these without their endings, or words of any script."""


def require() -> None:
    """Raises UserError if the library is missing."""
    need("rouge_score.rouge_scorer", "metrics")


class _Words:
    """Splits a text into words of any script, in lower case; rouge-score's own tokenizer drops all but a to z."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())


@functools.cache
def _scorer(tokens: Tokens) -> Any:
    tokenizer = _Words() if tokens == "words" else None
    module = need("rouge_score.rouge_scorer", "metrics")
    return module.RougeScorer(KINDS, use_stemmer=tokens == "stems", tokenizer=tokenizer)


def scores(answer: str, references: Sequence[str], tokens: Tokens) -> dict[str, float]:
    """Returns the F1 of each kind, 0 to 1. A sentence ends where a full stop stands between spaces, or a line ends."""
    each = [_scorer(tokens).score(_lines(reference), _lines(answer)) for reference in references]
    return {kind: max(float(score[kind].fmeasure) for score in each) for kind in KINDS}


def _lines(text: str) -> str:
    return text.replace(" . ", " .\n")
