"""Computes BLEU (Papineni et al., 2002) with sacrebleu, as counts of n-grams that add up over answers."""

import functools
from collections.abc import Sequence
from typing import Any

from palmetto.corpus.extras import need


def require(tokenizer: str) -> None:
    """Raises UserError if a library that the tokenizer needs is missing."""
    for module in ("sacrebleu", *(("MeCab", "ipadic") if tokenizer == "ja-mecab" else ())):
        need(module, "metrics")


@functools.cache
def _scorer(tokenizer: str) -> Any:
    return need("sacrebleu", "metrics").BLEU(tokenize=tokenizer, smooth_method="exp", effective_order=False)


def counts(answer: str, references: Sequence[str], tokenizer: str) -> tuple[float, ...]:
    """Returns an answer's n-grams that match, those that there are, for n from 1 to 4, and both lengths in tokens.

    tokenizer: sacrebleu's name of it, such as 13a or zh.
    """
    score = _scorer(tokenizer).corpus_score([answer], [[reference] for reference in references])
    return (*map(float, score.counts), *map(float, score.totals), float(score.sys_len), float(score.ref_len))


def bleu_of(counts: Sequence[float]) -> float:
    """Returns the BLEU of added counts, 0 to 1."""
    matched, there, (ours, theirs) = counts[:4], counts[4:8], counts[8:]
    compute = need("sacrebleu", "metrics").BLEU.compute_bleu
    return float(compute(list(map(int, matched)), list(map(int, there)), int(ours), int(theirs), "exp").score) / 100


def signature(tokenizer: str, references: int = 1) -> str:
    """Returns sacrebleu's name of the exact settings."""
    scorer = _scorer(tokenizer)
    scorer.corpus_score(["x"], [["x"]] * references)
    return str(scorer.get_signature())
