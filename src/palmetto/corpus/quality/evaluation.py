"""Measures how well a classifier separates curated text from other text, on held-out documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from palmetto.corpus.extras import need
from palmetto.corpus.quality import training
from palmetto.corpus.quality.classifier import Classifier
from palmetto.corpus.quality.training import FIELDS, Text, complain
from palmetto.corpus.stage import Say
from palmetto.corpus.text.words import Floats
from palmetto.errors import UserError


@dataclass(frozen=True)
class Side:
    """Held-out texts of one side with their scores, in ascending order of score."""

    texts: tuple[Text, ...]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """Scores of the held-out texts of both sides, and curves over all thresholds."""

    curated: Side
    other: Side
    false_positive: Floats
    true_positive: Floats
    recall: Floats
    precision: Floats
    area: float
    """The area under the ROC curve: the probability that a curated text scores higher than another."""
    average_precision: float

    def kept(self, alpha: float) -> tuple[float, float]:
        """Returns the shares of curated and of other texts that Pareto sampling is expected to keep.

        P(draw > 1 - score) is (2 - score)^-alpha.
        """
        curated, other = (
            float(np.mean((2 - side.scores.astype(float)) ** -alpha)) for side in (self.curated, self.other)
        )
        return curated, other


def evaluate(
    file: Path, curated: Sequence[str], other: Sequence[str], say: Say = complain, fields: Sequence[str] = FIELDS
) -> Evaluation:
    """Scores the held-out documents of both sides; raises UserError if a side has none."""
    classifier = Classifier.load(file)
    metrics = need("sklearn.metrics")
    sides = []
    for name, sources in (("curated", curated), ("other", other)):
        texts = [text for text in training.read(sources, fields, say) if text.held_out]
        if not texts:
            raise UserError(f"{' '.join(sources)}: no {name} document is held out (a tenth is, by hash); give more")
        scores = classifier.score([text.text for text in texts])
        order = np.argsort(scores, kind="stable")
        sides.append(Side(tuple(texts[number] for number in order), scores[order]))
    labels = np.repeat([1, 0], [len(side.texts) for side in sides])
    scores = np.concatenate([side.scores for side in sides])
    false_positive, true_positive, _ = metrics.roc_curve(labels, scores)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    return Evaluation(
        sides[0],
        sides[1],
        false_positive,
        true_positive,
        recall,
        precision,
        float(metrics.roc_auc_score(labels, scores)),
        float(metrics.average_precision_score(labels, scores)),
    )
