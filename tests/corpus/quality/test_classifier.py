"""Tests that a classifier learns its sides, survives saving, and scores a text independently of others."""

import random
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from palmetto.corpus.quality.classifier import BUCKETS, Classifier
from palmetto.errors import UserError

CURATED = ["history", "river", "century", "church", "village", "author", "novel", "empire", "science", "mountain"]
OTHER = ["click", "subscribe", "login", "cart", "cookies", "deal", "sale", "coupon", "newsletter", "signup"]


def texts(words: list[str], number: int, seed: int) -> list[str]:
    chosen = random.Random(seed)
    return [" ".join(chosen.choices([*words, "the", "of", "and", "in"], k=30)) for _ in range(number)]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.train(texts(CURATED, 30, 1), texts(OTHER, 40, 2))


def test_it_tells_the_sides_apart(classifier: Classifier) -> None:
    curated, other = classifier.score(texts(CURATED, 10, 3)), classifier.score(texts(OTHER, 10, 4))
    assert curated.dtype == np.float32
    assert curated.min() > 0.6 > 0.4 > other.max()
    assert classifier.score([]).tolist() == []
    assert classifier.score(["", "?!"]).tolist() == [classifier.score([""])[0]] * 2


def test_unspaced_scripts_are_told_apart_by_letters() -> None:
    curated, other = ["日本の歴史と文化について書かれた本"] * 5, ["今すぐクリックして登録してください"] * 5
    scores = Classifier.train(curated, other).score(["歴史について", "クリックして登録"])
    assert scores[0] > 0.55 > 0.45 > scores[1]


@settings(max_examples=30)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=20))
def test_a_score_does_not_depend_on_other_texts(classifier: Classifier, given_texts: list[str]) -> None:
    company = texts(CURATED, 3, 5)
    together = classifier.score([*company, *given_texts, *company])[3:-3]
    alone = np.array([classifier.score([text])[0] for text in given_texts])
    assert together.tobytes() == alone.tobytes()


def test_a_saved_classifier_loads_to_the_same(classifier: Classifier, tmp_path: Path) -> None:
    file = tmp_path / "classifier.npz"
    classifier.save(file)
    loaded = Classifier.load(file)
    asked = texts(CURATED, 5, 6)
    assert loaded.score(asked).tobytes() == classifier.score(asked).tobytes()
    assert loaded.trained == classifier.trained
    assert (loaded.trained["curated"], loaded.trained["other"]) == (30, 40)
    data = file.read_bytes()
    classifier.save(file)
    assert file.read_bytes() == data
    assert np.load(file, allow_pickle=False)["weights"].dtype == np.float32


def test_training_does_not_depend_on_the_order() -> None:
    curated, other = texts(CURATED, 8, 1), texts(OTHER, 9, 2)
    one, two = Classifier.train(curated, other), Classifier.train(curated[::-1], other[::-1])
    assert one.weights.tobytes() == two.weights.tobytes()
    assert one.trained == two.trained
    assert one.trained["digest"] != Classifier.train(other, curated).trained["digest"]


def test_files_that_are_no_classifier_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Classifier.load(tmp_path / "none.npz")
    classifier.save(tmp_path / "whole.npz")
    for name, data in {
        "text": b"hello",
        "empty": b"",
        "cut": (tmp_path / "whole.npz").read_bytes()[:300],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="not a classifier"):
            Classifier.load(tmp_path / name)
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(UserError, match="not a classifier"):
        Classifier.load(tmp_path / "other.npz")


def test_a_side_without_texts_is_refused() -> None:
    with pytest.raises(UserError, match="other: no texts"):
        Classifier.train(["a"], [])


def test_weights_are_few(classifier: Classifier) -> None:
    assert classifier.weights.shape == (BUCKETS,)
    assert 0 < np.count_nonzero(classifier.weights) < 1000
