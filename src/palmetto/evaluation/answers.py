"""Compares generated answers with accepted ones: exact match and F1 as SQuAD defines them (arXiv 1606.05250)."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from palmetto.evaluation.tasks.normalization import normalize
from palmetto.evaluation.tasks.task import Example


def accepted(answers: Any) -> tuple[str, ...]:
    """Returns the accepted answers of a record; raises ValueError unless they are a list of one or more texts."""
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"answers {answers!r:.60}; expected a list of one or more texts")
    return tuple(answers)


def exact(answer: str, right: str) -> float:
    """Returns 1 if both are equal after normalization, else 0."""
    return float(normalize(answer) == normalize(right))


def f1(answer: str, right: str) -> float:
    """Returns the F1 of the words of both after normalization; if either has none, whether both have none."""
    ours, theirs = normalize(answer).split(), normalize(right).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def best(compare: Callable[[str, str], float], answer: str, example: Example) -> float:
    """Returns the best comparison with any accepted answer."""
    return max(compare(answer, right) for right in example.answers)


def same(metric: str, text: str, example: Example) -> dict[str, float] | None:
    """Marks an answer that must be the accepted one, but for spaces around it; None if it is empty."""
    return {metric: float(text.strip() == example.answers[0])} if text.strip() else None


def words(text: str, example: Example) -> dict[str, float] | None:
    """Marks an answer by exact match and F1; None if it is empty."""
    if not text.strip():
        return None
    return {"em": best(exact, text, example), "f1": best(f1, text, example)}
