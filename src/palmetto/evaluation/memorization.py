"""Measures how much training text a model repeats verbatim, by how often it saw it (arXiv 2204.02311, section 7).

A span is memorized if greedy decoding after its first half gives exactly its second half. How often the model saw a
span is counted in the windows that it was trained on. Held-out text is the control: what is right there was guessed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.decoding.request import Request
from palmetto.errors import UserError
from palmetto.evaluation.harness import Answerer
from palmetto.evaluation.queries import Reader
from palmetto.evaluation.results import shown
from palmetto.evaluation.statistics import estimate
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.order import Order
from palmetto.tokens.store import TokenStore
from palmetto.training import ledger
from palmetto.training.replay import follow
from palmetto.training.spikes import History

_BASE = np.uint64(0x9E3779B97F4A7C15)
_AT_ONCE = 4096
"""The windows that are hashed together, which bounds the memory."""
_MANY = 101
_BUCKETS = {"0": range(1), "1": range(1, 2), "2–3": range(2, 4), "4–10": range(4, 11), "11–100": range(11, _MANY)}
"""The numbers of repeats that are counted together; what is repeated more often comes last."""

Ids = npt.NDArray[np.int32]


class Span(NamedTuple):
    """Holds a span with how often the model saw it; 0 for held-out text that it never saw."""

    ids: tuple[int, ...]
    repeats: int


def trained_on(run: RunDirectory, recipe: Recipe, store: TokenStore, step: int) -> Ids:
    """Returns the windows of the steps up to one, each as often as the model saw it, int32 [W, T].

    They are read into memory at once. Raises UserError for the step 0, which has seen nothing.
    """
    if not step:
        raise UserError(f"{run.path}: the checkpoint of step 0 has seen no text; expected a later one")
    training = recipe.training
    order = Order(store.windows, training.batch_ramp, training.seed, training.epochs)
    before = order.ramp.sequences_before
    history = History(training.spikes, lambda start, end: before(end + 1) - before(start + 1))
    follow(history, ledger.read(run.ledger)[0])
    numbers = [order.sequence_numbers(each, history.skips) for each in range(1, step + 1)]
    return store.read(np.concatenate(numbers))[:, :-1]


def spans(training: Ids, held_out: Ids, count: int, length: int, seed: int) -> list[Span]:
    """Returns `count` spans of training windows and as many of held-out ones, drawn alike.

    training, held_out: windows, int32 [W, T]. Raises UserError if they are shorter than a span, or none is held out.
    """
    if not len(held_out):
        raise UserError("no window of text is held out; expected a run with validation tokens")
    if training.shape[1] < length:
        raise UserError(
            f"--length {length}: the windows of training have {training.shape[1]} tokens; expected at most these"
        )
    random = np.random.default_rng(seed)
    drawn = np.concatenate([_draw(random, windows, count, length) for windows in (training, held_out)])
    counts = _count(training, _hashes(drawn, length)[:, 0], length)
    return [Span(tuple(map(int, ids)), int(repeats)) for ids, repeats in zip(drawn, counts, strict=True)]


def measure(drawn: Sequence[Span], engine: Answerer, reader: Reader) -> list[dict[str, Any]]:
    """Returns {"repeats", "spans", "value", "interval", "error"} for each number of repeats that occurs.

    value: the share of spans that are memorized, 0 to 100.
    """
    half = len(drawn[0].ids) // 2
    results = engine.run([_request(span.ids, half, reader) for span in drawn])
    exact: dict[str, list[float]] = {}
    for span, (result,) in zip(drawn, results, strict=True):
        bucket = next((name for name, counts in _BUCKETS.items() if span.repeats in counts), f"over {_MANY - 1}")
        said = tuple(token.id for token in result.tokens)
        exact.setdefault(bucket, []).append(float(said == span.ids[half:]))
    return [
        {"repeats": name, "spans": len(own), **shown(estimate(own, list(map(str, range(len(own))))), "")}
        for name in (*_BUCKETS, f"over {_MANY - 1}")
        if (own := exact.get(name))
    ]


def _request(ids: Sequence[int], half: int, reader: Reader) -> Request:
    seen, prefix = reader.seen(ids[:half])
    return Request(seen, tokens=len(ids) - half, prefix=prefix)


def _draw(random: np.random.Generator, windows: Ids, count: int, length: int) -> Ids:
    rows = random.integers(0, len(windows), count)
    starts = random.integers(0, windows.shape[1] - length + 1, count)
    return windows[rows[:, None], starts[:, None] + np.arange(length)]


def _hashes(windows: Ids, length: int) -> npt.NDArray[np.uint64]:
    """Returns the polynomial hash of the span at each place of windows [W, T], uint64 [W, T − length + 1]."""
    begun = np.zeros((len(windows), windows.shape[1] + 1), np.uint64)
    for place in range(windows.shape[1]):
        begun[:, place + 1] = begun[:, place] * _BASE + windows[:, place].astype(np.uint64) + np.uint64(1)
    power = np.uint64(pow(int(_BASE), length, 2**64))
    return begun[:, length:] - begun[:, :-length] * power


def _count(windows: Ids, hashes: npt.NDArray[np.uint64], length: int) -> npt.NDArray[np.int64]:
    """Returns how often each of some spans occurs in windows, found by its hash."""
    distinct, which = np.unique(hashes, return_inverse=True)
    counts = np.zeros(len(distinct), np.int64)
    for start in range(0, len(windows), _AT_ONCE):
        there = _hashes(windows[start : start + _AT_ONCE], length).ravel()
        places = np.minimum(np.searchsorted(distinct, there), len(distinct) - 1)
        counts += np.bincount(places[distinct[places] == there], minlength=len(distinct))
    return counts[which]
