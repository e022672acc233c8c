"""A linear classifier of hashed words that scores how similar a text is to curated text."""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus.extras import need
from palmetto.corpus.reading.listing import irregular
from palmetto.corpus.text import scripts
from palmetto.corpus.text.words import LONGEST, Floats, Integers, batches
from palmetto.errors import UserError
from palmetto.files import write_bytes

_FORMAT = "palmetto quality classifier"
_VERSION = 1
BUCKETS = 1 << 20
INVERSE_PENALTY = 10.0
"""The inverse of the weight of the L2 penalty: C of sklearn's LogisticRegression."""
_ITERATIONS = 200


@dataclass(frozen=True)
class Features:
    """A sparse matrix of `number` rows in coordinate form: row, bucket and value of each entry, sorted by row and
    bucket.
    """

    rows: Integers
    buckets: Integers
    values: Floats
    number: int


def features(texts: pa.ChunkedArray) -> list[Features]:
    """Returns the features of texts (large_string), one matrix per batch.

    Each word, and each pair of neighbouring words, is hashed into a bucket; in scripts without spaces, each letter and
    pair of letters. A bucket's value is the square root of its share of the text's hashes, so a row has length 1. Only
    the first words.LONGEST characters of a text count.
    """
    found = []
    for _, batch in batches(pc.utf8_slice_codeunits(texts, 0, LONGEST)):
        words = batch.tokens().words
        hashes = batch.hash(words.starts, words.ends)
        pairs = scripts.mix(hashes[:-1] ^ scripts.mix(hashes[1:]))[words.texts[:-1] == words.texts[1:]]
        of_pairs = words.texts[:-1][words.texts[:-1] == words.texts[1:]]
        buckets = np.concatenate([hashes, pairs]) % np.uint64(BUCKETS)
        rows = np.concatenate([words.texts, of_pairs])
        keys, counts = np.unique(rows * BUCKETS + buckets.astype(np.int64), return_counts=True)
        rows = keys // BUCKETS
        total = np.bincount(rows, counts, len(batch))
        found.append(Features(rows, keys % BUCKETS, np.sqrt(counts / total[rows]), len(batch)))
    return found


@dataclass(frozen=True)
class Classifier:
    """A logistic regression: float32 weights [BUCKETS], a bias, and in `trained` a record of the training texts."""

    weights: npt.NDArray[np.float32]
    bias: float
    trained: dict[str, Any]

    @classmethod
    def train(cls, curated: Sequence[str], other: Sequence[str]) -> "Classifier":
        """Trains a logistic regression in which both sides have equal weight, however many texts each has.

        The order of the texts does not matter. Memory grows to about ten times the size of the texts. Raises UserError
        if a side is empty or the extra `corpus` is missing.
        """
        if not curated or not other:
            raise UserError(f"{'curated' if not curated else 'other'}: no texts to train on")
        linear, sparse = need("sklearn.linear_model"), need("scipy.sparse")
        labelled = sorted(
            (hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), label, text)
            for label, texts in ((1, curated), (0, other))
            for text in texts
        )
        labels = np.array([label for _, label, _ in labelled])
        found = features(_array([text for *_, text in labelled]))
        before = np.cumsum([0, *(each.number for each in found)])
        rows = np.concatenate([each.rows + start for each, start in zip(found, before, strict=False)])
        # Unused buckets have weight zero; leaving them out is faster and changes nothing.
        used, columns = np.unique(np.concatenate([each.buckets for each in found]), return_inverse=True)
        values = np.concatenate([each.values for each in found])
        matrix = sparse.csr_matrix((values, (rows, columns)), shape=(len(labels), len(used)))
        model = linear.LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=_ITERATIONS)
        model.fit(matrix, labels)
        weights = np.zeros(BUCKETS, np.float32)
        weights[used] = model.coef_[0]
        digest = hashlib.sha256("".join(f"{each}{label}" for each, label, _ in labelled).encode()).hexdigest()
        trained = {"curated": len(curated), "other": len(other), "digest": digest}
        return cls(weights, float(model.intercept_[0]), trained)

    def score(self, texts: pa.ChunkedArray | Sequence[str]) -> npt.NDArray[np.float32]:
        """Returns a score between 0 and 1 for each text; its bits do not depend on the other texts."""
        scores = []
        for each in features(texts if isinstance(texts, pa.ChunkedArray) else _array(texts)):
            # bincount adds one value after another, so each text is summed in the order of its buckets.
            sums = np.bincount(each.rows, self.weights[each.buckets] * each.values, each.number)
            scores += [_sigmoid(value + self.bias) for value in sums.tolist()]
        return np.array(scores, np.float32)

    def save(self, file: Path) -> None:
        """Writes an .npz file without pickled objects, atomically; the same classifier gives the same bytes."""
        used = np.flatnonzero(self.weights)
        values = {
            "format": _FORMAT,
            "version": _VERSION,
            "buckets": BUCKETS,
            "bias": self.bias,
            "trained": self.trained,
        }
        data = io.BytesIO()
        np.savez_compressed(
            data,
            about=np.frombuffer(json.dumps(values, sort_keys=True).encode(), np.uint8),
            buckets=used.astype(np.uint32),
            weights=self.weights[used],
        )
        write_bytes(file, data.getvalue())

    @classmethod
    def load(cls, file: Path) -> "Classifier":
        """Reads what `save` wrote; raises UserError if the file is no classifier or has another version."""
        if what := irregular(str(file)):
            raise UserError(f"{file}: {what}; it is read several times")
        try:
            with np.load(file, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                assert about["format"] == _FORMAT
                if (about["version"], about["buckets"]) != (_VERSION, BUCKETS):
                    raise UserError(
                        f"{file}: a classifier of version {about['version']}, expected {_VERSION}; train it again"
                    )
                weights = np.zeros(BUCKETS, np.float32)
                weights[arrays["buckets"]] = arrays["weights"]
        except FileNotFoundError:
            raise UserError(f"{file}: no such file; `palmetto corpus quality train` makes a classifier") from None
        except UserError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AssertionError, EOFError, zipfile.BadZipFile):
            raise UserError(f"{file}: not a classifier that `palmetto corpus quality train` has written") from None
        return cls(weights, about["bias"], about["trained"])


def _array(texts: Sequence[str]) -> pa.ChunkedArray:
    encodable = [text.encode("utf-8", "replace").decode() for text in texts]  # surrogates become question marks
    return pa.chunked_array([pa.array(encodable, pa.large_string())])


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
