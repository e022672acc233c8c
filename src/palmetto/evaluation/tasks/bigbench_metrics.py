"""The metrics of BIG-bench (arXiv 2206.04615), each from 0 to 1 but for log-likelihoods."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from palmetto.evaluation import bleu, calibration, rouge
from palmetto.evaluation.scoring import f1_of, label_counts, mean_f1, values
from palmetto.evaluation.statistics import Estimate
from palmetto.evaluation.tasks.task import Outcome

GRADE = "multiple_choice_grade"
"""The metric of options: what the chosen one scores."""
_BINS = 15
TOKENIZER = "intl"
"""sacrebleu's name of BIG-bench's tokenizer."""

Targets = Sequence[str]


def exact_str_match(response: str, targets: Targets) -> float:
    """Returns whether a response is one of the targets."""
    return float(response in targets)


def case_insensitive_str_match(response: str, targets: Targets) -> float:
    """Returns whether it is, but for case and spaces around it."""
    return float(response.strip().lower() in {target.strip().lower() for target in targets})


def sequence_f1(response: str, targets: Targets) -> float:
    """Returns the share of labels of the first target that the response has at the same place."""
    expected, given = targets[0].split(" "), response.split(" ")
    given += ["O"] * (len(expected) - len(given))  # the label of what is outside of all spans
    return sum(map(str.__eq__, expected, given)) / len(expected)


def numeric_match(response: str, targets: Targets) -> float:
    """Returns whether the response is a number within a tenth of the target; of 0, within 0.1.

    As in BIG-bench, any number is close to a negative target.
    """
    try:
        [expected], given = map(float, targets), float(response)
    except ValueError:
        return 0.0
    return float(abs(given - expected) / (expected or 1) <= 0.1)


MATCHES: Mapping[str, Callable[[str, Targets], float]] = {
    "exact_str_match": exact_str_match,
    "case_insensitive_str_match": case_insensitive_str_match,
    "sequence_f1": sequence_f1,
    "numeric_match_with_0_1_relative_error": numeric_match,
}


def generated(metrics: Sequence[str], response: str, targets: Targets) -> dict[str, float]:
    """Returns what a response scores by metrics; `rouge` stands for three, and BLEU is that of this response alone."""
    scores = {name: MATCHES[name](response, targets) for name in metrics if name in MATCHES}
    if "rouge" in metrics:
        scores |= rouge.scores(response, targets, "plain")
    if "bleu" in metrics:
        scores["bleu"] = bleu.bleu_of(ngrams(response, targets)["bleu"])
    return scores


def ngrams(response: str, targets: Targets) -> dict[str, tuple[float, ...]]:
    """Returns what a response adds to the BLEU of all."""
    return {"bleu": bleu.counts(response, targets, TOKENIZER)}


def signature() -> str:
    """Returns sacrebleu's name of BIG-bench's settings."""
    return bleu.signature(TOKENIZER)


def of_options(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns Brier's score, the error of calibration in 15 bins, and means weighted by what options score."""
    grades = [np.array(outcome.credits[GRADE]) for outcome in outcomes]
    absolute = [np.array(outcome.likelihoods) for outcome in outcomes]
    chances = [_softmax(logs) for logs in absolute]
    targets = [grade / total if (total := grade.sum()) else np.zeros_like(grade) for grade in grades]
    brier = [
        target * (chance - 1) ** 2 + (1 - target) * chance**2 for target, chance in zip(targets, chances, strict=True)
    ]
    # The first option is the favourite of a tie, and the target of several.
    favourites = [
        calibration.Favourite(float(chance.max()), bool(chance.argmax() == target.argmax()), outcome.cluster)
        for chance, target, outcome in zip(chances, targets, outcomes, strict=True)
    ]
    weights = list(zip(grades, absolute, strict=True))
    return {
        "calibration_multiple_choice_brier_score": float(np.concatenate(brier).mean()),
        "expected_calibration_error": calibration.error(calibration.bins(favourites, _BINS)),
        "weighted_probabilities": float(np.mean([np.sum(grade * np.exp(logs)) for grade, logs in weights])),
        "weighted_log_probabilities": float(np.mean([np.sum(grade * logs) for grade, logs in weights])),
        **_macro_f1(outcomes),
    }


def _softmax(logs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    raised = np.exp(logs - logs.max())
    return raised / raised.sum()


def _macro_f1(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns the mean F1 over classes, which are texts of options; nothing if an example has several right ones."""
    if any(sorted(outcome.credits[GRADE])[-2:] != [0, 1] for outcome in outcomes if outcome.options > 1):
        return {}
    return {"macro_f1": mean_f1(label_counts(*_classes(outcomes)))}


def _classes(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str], list[str]]:
    """Returns the class of each answer, the right class of each, and all classes."""
    said, right = [outcome.answer for outcome in outcomes], [outcome.right for outcome in outcomes]
    return said, right, sorted({*said, *right})


def normalized_options(preferred: str, outcomes: Sequence[Outcome], own: Estimate) -> dict[str, Estimate]:
    """Returns the normalized preferred metric: F1, or the grade, which is 0 at chance and 1 if all is right."""
    if preferred in _macro_f1(outcomes):
        return {"normalized": f1_of(*_classes(outcomes), [outcome.cluster for outcome in outcomes])}
    chance = float(np.mean([np.mean(outcome.credits[GRADE]) for outcome in outcomes]))
    return {"normalized": own.centred(chance) if chance < 1 else Estimate(0.0, 0.0, (0.0, 0.0))}


def normalized_responses(outcomes: Sequence[Outcome], own: Estimate) -> dict[str, Estimate]:
    """Returns the normalized preferred metric of responses, for which chance is 0."""
    return {"normalized": own}


def normalized_targets(outcomes: Sequence[Outcome], own: Estimate) -> dict[str, Estimate]:
    """Returns the normalized log-likelihood, which is 0 at −10."""
    return {"normalized": own.centred(-10.0, 0.0)}


def of_targets(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns log-likelihoods of targets by word and character, if each example has one."""
    if any(outcome.options > 1 for outcome in outcomes):
        return {}
    logs, texts = values("log_likelihood", outcomes), [outcome.right for outcome in outcomes]
    per_word = [value / len(text.split()) for value, text in zip(logs, texts, strict=True)]
    per_character = [value / len(text) for value, text in zip(logs, texts, strict=True)]
    return {
        "log_likelihood_per_word": float(np.mean(per_word)),
        "log_likelihood_per_char": float(np.mean(per_character)),
    }
