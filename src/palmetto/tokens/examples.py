"""Packs the examples of fine-tuning into the two token stores, with marks of what is predicted and where each begins.

An example is [eod], its segments and one [eod] behind the last. Each segment is encoded by itself, so that no token
spans a prompt and its target. What is predicted follows from the segments alone.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.corpus.examples import Example, Segments
from palmetto.errors import UserError
from palmetto.recipe.objectives import ExamplesObjective, OnExamples, PreferencesObjective
from palmetto.tokens import marks, store
from palmetto.tokens.chats import with_specials
from palmetto.tokens.marks import Marked, mark
from palmetto.tokens.rows import OPEN_ROWS, rows_of
from palmetto.tokens.split import Split
from palmetto.tokens.vocabulary import Vocabulary

_AT_ONCE = 1 << 14
"""The number of examples that are encoded together."""


_MOST_REPEATS = 100
"""The largest number of times that all examples may be repeated in an epoch, on average."""


class DataSet(NamedTuple):
    """Holds the examples of a file, and the weight of the file if it has one."""

    name: str
    weight: float | None
    examples: Iterable[Example]


class Tokenized(NamedTuple):
    """Holds an example in tokens, or the two of a preference one after the other."""

    name: str
    marked: npt.NDArray[np.int32]
    """The tokens with their marks, int32 [n]."""
    digest: bytes
    """The SHA-256 of these."""


class Half(NamedTuple):
    """Counts what one store holds."""

    examples: int
    tokens: int
    predicted: int
    windows: int
    sequence_length: int

    def __str__(self) -> str:
        filled = self.tokens / max(1, self.windows * self.sequence_length)
        return (
            f"{self.examples:,} examples, {self.tokens:,} tokens ({self.predicted:,} predicted), {self.windows:,} "
            f"rows of {self.sequence_length} ({min(filled, 1):.0%} filled)"
        )


class Packed(NamedTuple):
    """Counts what was packed, and names what was not."""

    train: Half
    validation: Half
    repeats: dict[str, float]
    """The number of times that the examples of each file with a weight are in an epoch, on average."""
    too_long: list[str]
    """The examples that were left out, each with its number of tokens and what it exceeds."""


def pack(
    sets: Sequence[DataSet],
    vocabulary: Vocabulary,
    train: Path,
    validation: Path,
    *,
    objective: OnExamples,
    sequence_length: int,
    validation_share: float,
    seed: int,
    source_fingerprint: str,
) -> Packed:
    """Writes the stores `train` and `validation`; they do not depend on the order of examples in a file.

    Raises UserError if an example is not of the objective's form, if only some files have weights, if there are not
    two different examples, one for each half, or if a file has none for training.
    """
    _check_weights(sets)
    too_long: list[str] = []
    found = [list(_fitting(each.examples, vocabulary, objective, sequence_length, too_long)) for each in sets]
    split = Split(validation_share, sequence_length + 1 if _is_stream(objective) else 1)
    for each in (each for examples in found for each in examples):
        split.add(each.digest, len(each.marked))
    if not split.has_two:
        left_out = f" ({len(too_long)} are too long: {too_long[0]})" if too_long else ""
        raise UserError(
            f"--data: fewer than two different examples{left_out}; expected one at least for training and one for "
            "validation"
        )
    boundary = split.boundary()
    held_out = [each for examples in found for each in examples if each.digest < boundary]
    kept = [[each for each in examples if each.digest >= boundary] for examples in found]
    for data_set, examples in zip(sets, found, strict=True):
        if all(each.digest < boundary for each in examples):
            raise UserError(
                f"--data {data_set.name}: no example is left for training: {len(examples)} are for validation, all "
                "others too long; expected more examples"
            )
    wanted = _wanted([each.weight for each in sets], [len(examples) for examples in kept])

    write = partial(
        _write,
        vocabulary=vocabulary,
        objective=objective,
        sequence_length=sequence_length,
        source_fingerprint=source_fingerprint,
    )
    passes = [each for examples, count in zip(kept, wanted, strict=True) for each in _taken(examples, count, seed)]
    repeats = {
        each.name: count / len(examples)
        for each, examples, count in zip(sets, kept, wanted, strict=True)
        if each.weight is not None
    }
    return Packed(
        write(train, _in_order(passes)),
        write(validation, _in_order((_key(seed, 0, each), each) for each in held_out)),
        repeats,
        too_long,
    )


def _check_weights(sets: Sequence[DataSet]) -> None:
    """Raises UserError if only some files have weights."""
    weighted = [each.name for each in sets if each.weight is not None]
    if weighted and len(weighted) < len(sets):
        lacks = next(each.name for each in sets if each.weight is None)
        raise UserError(f"--data {lacks}: has no weight, and {weighted[0]} has; expected a weight for all or for none")


def _is_stream(objective: OnExamples) -> bool:
    return isinstance(objective, ExamplesObjective) and objective.packing == "stream"


def _write(
    path: Path,
    chosen: list[Tokenized],
    *,
    vocabulary: Vocabulary,
    objective: OnExamples,
    sequence_length: int,
    source_fingerprint: str,
) -> Half:
    """Writes a store of examples in this order, as a stream or in rows; a preference has a row of its own."""
    numbers = [each.marked for each in chosen]
    open_rows = 0 if isinstance(objective, PreferencesObjective) else OPEN_ROWS
    rows = _joined(numbers) if _is_stream(objective) else rows_of(numbers, sequence_length, vocabulary.eod, open_rows)
    header = store.write(
        path,
        rows,
        vocabulary_size=vocabulary.size,
        sequence_length=sequence_length,
        documents=len(chosen),
        vocabulary_digest=vocabulary.digest,
        source_fingerprint=source_fingerprint,
        marked=True,
    )
    predicted = sum(len(marks.predicted(marks.unmark(each))) for each in numbers)
    return Half(len(chosen), sum(map(len, numbers)), predicted, header.windows, sequence_length)


def _fitting(
    examples: Iterable[Example],
    vocabulary: Vocabulary,
    objective: OnExamples,
    sequence_length: int,
    too_long: list[str],
) -> Iterator[Tokenized]:
    """Yields the examples that are not too long, and names the others in `too_long`."""
    batch: list[Example] = []
    for example in examples:
        pair = isinstance(objective, PreferencesObjective)
        if len(example.sequences) != 1 + pair:
            keys = "prompt, chosen and rejected" if pair else "prompt and target, messages or text"
            raise UserError(f"{example.name}: training.objective.name={objective.name} expects the keys {keys}")
        batch.append(example)
        if len(batch) >= _AT_ONCE:
            yield from _encoded(batch, vocabulary, objective, sequence_length, too_long)
            batch = []
    yield from _encoded(batch, vocabulary, objective, sequence_length, too_long)


def _encoded(
    examples: list[Example], vocabulary: Vocabulary, objective: OnExamples, sequence_length: int, too_long: list[str]
) -> Iterator[Tokenized]:
    texts = [segment.text for example in examples for segments in example.sequences for segment in segments]
    ids = iter(vocabulary.encode_all(texts))
    for example in examples:
        sequences = [_marked(segments, ids, vocabulary) for segments in example.sequences]
        if not all(np.any(each.scored) for each in sequences):
            raise UserError(f"{example.name}: nothing of it is predicted; expected a message of the assistant")
        if excess := _excess(sequences, objective, sequence_length):
            too_long.append(f"{example.name} ({excess})")
            continue
        numbers = np.concatenate([mark(each) for each in sequences])
        yield Tokenized(example.name, numbers, hashlib.sha256(numbers.tobytes()).digest())


def _marked(segments: Segments, ids: Iterator[npt.NDArray[np.int32]], vocabulary: Vocabulary) -> Marked:
    """Returns the tokens of an example with their marks; takes the ids of its segments from `ids`."""
    tokens, scored = [np.array([vocabulary.beginning])], [np.array([False])]
    for place, found in enumerate(with_specials(segments, ids, vocabulary), 1):
        ended = place < len(segments) or found[-1:].tolist() == [vocabulary.eod]
        tokens.append(found if ended else np.append(found, vocabulary.eod))
        scored.append(np.full(len(tokens[-1]), segments[place - 1].predicted))
    whole = np.concatenate(tokens).astype(np.int32)
    return Marked(whole, np.concatenate(scored), np.arange(len(whole)) == 0)


def _excess(sequences: Sequence[Marked], objective: OnExamples, sequence_length: int) -> str:
    """Returns what an example exceeds, or an empty string if it fits."""
    total = sum(len(each.tokens) for each in sequences)
    if not isinstance(objective, ExamplesObjective):
        return f"{total} tokens of {sequence_length}" if total > sequence_length else ""
    if objective.packing == "apart" and total > sequence_length:
        return f"{total} tokens of {sequence_length}"
    prompt = int(np.argmax(sequences[0].scored)) if np.any(sequences[0].scored) else total
    for name, count, most in (
        ("prompt", prompt, objective.longest_prompt),
        ("target", total - prompt, objective.longest_target),
    ):
        if most is not None and count > most:
            return f"{count} tokens of {name}, at most {most}"
    return ""


def _joined(numbers: Sequence[npt.NDArray[np.int32]]) -> Iterator[npt.NDArray[np.int32]]:
    """Yields examples one after the other, each but the first without its first [eod].

    The one that ends an example then also begins the next. It has no mark of a beginning, and may be predicted.
    """
    for place, each in enumerate(numbers):
        yield each if place == 0 else each[1:]


def _wanted(weights: Sequence[float | None], counts: Sequence[int]) -> list[int]:
    """Returns how many examples of each file an epoch has: as many as there are, or in proportion to the weights.

    With weights every example is in an epoch at least once. Raises UserError for weights that would repeat examples
    without end.
    """
    shares = [weight for weight in weights if weight is not None]
    if not shares:
        return list(counts)
    scale = max(count / share for count, share in zip(counts, shares, strict=True))
    wanted = [scale * share for share in shares]
    if not sum(wanted) <= _MOST_REPEATS * sum(counts):
        raise UserError(
            f"--data: with the weights {', '.join(f'{share:g}' for share in shares)} an epoch would have more than "
            f"{_MOST_REPEATS} times the {sum(counts):,} examples there are; expected weights that are nearer to one "
            "another"
        )
    return [round(count) for count in wanted]


def _key(seed: int, copy: int, example: Tokenized) -> bytes:
    return hashlib.sha256(f"examples {seed} {copy} ".encode() + example.digest).digest()


def _taken(examples: Sequence[Tokenized], count: int, seed: int) -> Iterator[tuple[bytes, Tokenized]]:
    """Yields `count` of the examples with the keys of their places in the order.

    Each comes as often as another, or once more.
    """
    for copy in range(-(-count // max(1, len(examples)))):
        keyed = [(_key(seed, copy, example), example) for example in examples]
        yield from sorted(keyed, key=lambda each: each[0])[: count - copy * len(examples)]


def _in_order(keyed: Iterable[tuple[bytes, Tokenized]]) -> list[Tokenized]:
    return [example for _, example in sorted(keyed, key=lambda each: each[0])]
