"""Levenshtein similarity of files of code, by whose distance PaLM has found near duplicates (arXiv 2204.02311,
section 3)."""

from palmetto.corpus.extras import need

_BY_CHARACTER = 1 << 18


def similar(a: str, b: str, least: float) -> bool:
    """Whether 1 - distance / length of the longer one is at least `least`; in characters, or in lines for files of
    more than 2^18 characters, which are generated, and would take hours."""
    shorter, longer = sorted((a, b), key=len)
    levenshtein = need("rapidfuzz.distance").Levenshtein
    if len(longer) > _BY_CHARACTER:
        return bool(levenshtein.normalized_similarity(a.splitlines(), b.splitlines()) >= least)
    if len(shorter) < least * len(longer):  # so many must be inserted
        return False
    return bool(levenshtein.normalized_similarity(a, b, score_cutoff=least) >= least)
