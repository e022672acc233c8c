"""Compares files of code by Levenshtein distance, as PaLM does (arXiv 2204.02311, section 3)."""

from palmetto.corpus.extras import need

_BY_CHARACTER = 1 << 18


def similar(a: str, b: str, least: float) -> bool:
    """Returns whether 1 - distance / length of the longer one is at least `least`.

    The distance is in characters, or in lines if a file has more than 2^18 characters: such files are generated, and
    would take hours.
    """
    shorter, longer = sorted((a, b), key=len)
    levenshtein = need("rapidfuzz.distance").Levenshtein
    if len(longer) > _BY_CHARACTER:
        return bool(levenshtein.normalized_similarity(a.splitlines(), b.splitlines()) >= least)
    if len(shorter) < least * len(longer):  # the insertions alone exceed the distance
        return False
    return bool(levenshtein.normalized_similarity(a, b, score_cutoff=least) >= least)
