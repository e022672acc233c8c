"""Examples are packed whole, with marks that follow from their segments, and what is too long is named."""

import collections
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palmetto.corpus.examples import Example
from palmetto.errors import UserError
from palmetto.recipe.objectives import ExamplesObjective, OnExamples, PreferencesObjective
from palmetto.recipe.segments import Segment
from palmetto.tokens import examples
from palmetto.tokens.examples import DataSet, Packed
from palmetto.tokens.marks import Marked, unmark
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary

VOCABULARY = Vocabulary.train([f"{a} and {b} are {a + b}\n" for a in range(40) for b in range(40)], 280, "bpe")
EOD = VOCABULARY.eod
LENGTH = 24


def question(number: int, target: str | None = None) -> Example:
    segments = (Segment(f"{number} and {number} are", False), Segment(target or f" {2 * number}", True))
    return Example(f"data.jsonl:{number}", (segments,))


QUESTIONS = [question(number) for number in range(40)]


def pack(folder: Path, *sets: DataSet, objective: OnExamples | None = None, share: float = 0.1, **more: Any) -> Packed:
    folder.mkdir(exist_ok=True)
    return examples.pack(
        sets or (DataSet("data.jsonl", None, QUESTIONS),),
        VOCABULARY,
        folder / "train",
        folder / "validation",
        objective=objective or ExamplesObjective(),
        sequence_length=LENGTH,
        validation_share=share,
        seed=more.pop("seed", 0),
        source_fingerprint="",
    )


def rows(path: Path) -> Marked:
    opened = TokenStore.open(path, vocabulary_digest=VOCABULARY.digest)
    return unmark(opened.read_stored(np.arange(opened.windows)))


def texts(path: Path) -> list[tuple[str, str]]:
    """Returns what is given and what is predicted of each example, in order; padding is none."""
    found = []
    for tokens, scored, begins in zip(*rows(path), strict=True):
        places = np.flatnonzero(begins[:-1]).tolist()
        for begin, end in zip(places, [*places[1:], LENGTH], strict=True):
            of_example = tokens[begin:end]
            if len(of_example) > 1:
                marks = scored[begin:end]
                found.append((VOCABULARY.decode(of_example[~marks]), VOCABULARY.decode(of_example[marks])))
    return found


def expected(chosen: Sequence[Example]) -> list[tuple[str, str]]:
    return sorted((example.sequences[0][0].text, example.sequences[0][1].text) for example in chosen)


def test_every_example_is_whole_in_one_half(tmp_path: Path) -> None:
    packed = pack(tmp_path)
    train, validation = texts(tmp_path / "train"), texts(tmp_path / "validation")
    assert sorted(train + validation) == expected(QUESTIONS)
    assert (packed.train.examples, packed.validation.examples) == (len(train), len(validation))
    assert packed.too_long == []
    assert 1 <= len(validation) <= 12
    assert packed.train.windows < len(train), "several share a row"


def test_an_example_is_its_segments_between_ends(tmp_path: Path) -> None:
    """No token spans the prompt and its target, though encoded together they would be fewer."""
    joined = Example("a", ((Segment("12 an", False), Segment("d 13", True)),))
    pack(tmp_path, DataSet("a", None, [joined, *QUESTIONS]), share=0.01)
    given, target = VOCABULARY.encode("12 an"), VOCABULARY.encode("d 13")
    assert len(VOCABULARY.encode("12 and 13")) < len(given) + len(target)
    found = rows(tmp_path / "train")
    whole = [EOD, *given.tolist(), *target.tolist(), EOD]
    windows = np.lib.stride_tricks.sliding_window_view(found.tokens, len(whole), axis=1)
    row, place = (int(each[0]) for each in np.nonzero((windows == whole).all(axis=2)))
    stretch = slice(place, place + len(whole))
    assert found.scored[row, stretch].tolist() == [False] * (1 + len(given)) + [True] * (len(target) + 1)
    assert found.begins[row, stretch].tolist() == [True] + [False] * (len(whole) - 1)


def test_padding_is_never_predicted_nor_seen(tmp_path: Path) -> None:
    pack(tmp_path)
    found = rows(tmp_path / "train")
    of_examples = np.zeros(found.tokens.shape, bool)
    for row, begins in enumerate(found.begins):
        places = [*np.flatnonzero(begins[:-1]).tolist(), LENGTH]
        for begin, end in itertools.pairwise(places):
            of_examples[row, begin:end] = end - begin > 1
    padding = ~of_examples[:, :-1]
    assert padding.any()
    assert (found.tokens[:, :-1][padding] == EOD).all()
    assert found.begins[:, :-1][padding].all()
    assert not found.scored[:, :-1][padding].any()


def test_what_is_too_long_is_named(tmp_path: Path) -> None:
    long = question(40, " " + "9" * 30)
    packed = pack(tmp_path, DataSet("data.jsonl", None, [*QUESTIONS, long]))
    assert len(packed.too_long) == 1
    assert packed.too_long[0].startswith("data.jsonl:40 (")
    assert f"tokens of {LENGTH})" in packed.too_long[0]
    objective = ExamplesObjective(longest_target=3)
    packed = pack(tmp_path, DataSet("data.jsonl", None, [*QUESTIONS, question(7, " 1234")]), objective=objective)
    assert [name for name in packed.too_long if "of target, at most 3" in name]
    with pytest.raises(UserError, match=r"1 are too long: data\.jsonl:40"):
        pack(tmp_path, DataSet("data.jsonl", None, [long]))


def test_an_example_without_a_target_is_refused(tmp_path: Path) -> None:
    asked = Example("chat.jsonl:3", ((Segment("user: Hi", False),),))
    with pytest.raises(UserError, match=r"chat\.jsonl:3: nothing of it is predicted; expected a message of the assis"):
        pack(tmp_path, DataSet("chat.jsonl", None, [*QUESTIONS, asked]))


def test_the_order_of_examples_does_not_matter(tmp_path: Path) -> None:
    pack(tmp_path / "one")
    pack(tmp_path / "two", DataSet("data.jsonl", None, QUESTIONS[::-1]))
    pack(tmp_path / "three", seed=1)
    of = {name: (tmp_path / name / "train").read_bytes() for name in ("one", "two", "three")}
    assert of["one"] == of["two"] != of["three"]


def test_files_are_mixed_by_size_or_by_weight(tmp_path: Path) -> None:
    few, many = QUESTIONS[:10], QUESTIONS[10:]
    pack(tmp_path / "size", DataSet("few", None, few), DataSet("many", None, many))
    assert sorted(texts(tmp_path / "size" / "train") + texts(tmp_path / "size" / "validation")) == expected(QUESTIONS)
    packed = pack(tmp_path / "weight", DataSet("few", 0.5, few), DataSet("many", 0.5, many))
    counts = collections.Counter(texts(tmp_path / "weight" / "train"))
    of_few = [count for text, count in counts.items() if text in expected(few)]
    of_many = [count for text, count in counts.items() if text in expected(many)]
    assert sum(of_few) == sum(of_many) == len(of_many), "in proportion, and each example at least once"
    assert {*counts, *texts(tmp_path / "weight" / "validation")} == set(expected(QUESTIONS))
    assert max(of_few) - min(of_few) <= 1
    assert packed.repeats["few"] == pytest.approx(sum(of_few) / len(of_few))
    with pytest.raises(UserError, match="many: has no weight, and few has"):
        pack(tmp_path, DataSet("few", 0.5, few), DataSet("many", None, many))


@pytest.mark.parametrize("weight", [1e6, 1e300, 1e-320])
def test_weights_that_repeat_without_end_are_refused(weight: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data: with the weights .* more than 100 times the"):
        pack(tmp_path, DataSet("few", weight, QUESTIONS[:10]), DataSet("many", 1.0, QUESTIONS[10:]))


def test_a_stream_predicts_every_target_once(tmp_path: Path) -> None:
    objective = ExamplesObjective(packing="stream")
    packed = pack(tmp_path, DataSet("data", None, [*QUESTIONS, question(41, " " + "9" * 40)]), objective=objective)
    opened = TokenStore.open(tmp_path / "train")
    stored = unmark(opened.stretch_stored(0, opened.header.tokens))
    ends = np.flatnonzero(stored.tokens == EOD)
    assert len(ends) == packed.train.examples + 1, "one [eod] between two"
    assert stored.scored[ends].tolist() == [False] + [True] * packed.train.examples
    assert packed.too_long == []


def test_preferences_have_a_row_each(tmp_path: Path) -> None:
    pairs = [
        Example(f"pairs:{n}", tuple((Segment(f"{n} and", False), Segment(end, True)) for end in (" 1", " 2")))
        for n in range(20)
    ]
    packed = pack(tmp_path, DataSet("pairs", None, pairs), objective=PreferencesObjective())
    assert packed.train.windows == packed.train.examples
    found = texts(tmp_path / "train")
    assert [target for _, target in found] == [" 1", " 2"] * packed.train.examples
    with pytest.raises(UserError, match=r"pairs:0: .*=examples expects the keys prompt and target"):
        pack(tmp_path, DataSet("pairs", None, pairs))


def test_a_file_without_examples_for_training_is_refused(tmp_path: Path) -> None:
    long = question(99, " " + "9" * 99)
    with pytest.raises(UserError, match="--data long: no example is left for training: 0 are for validation"):
        pack(tmp_path, DataSet("many", None, QUESTIONS), DataSet("long", None, [long]))
