"""Turns windows into training examples, as a pure function of the objective, the seed and the position in the run.

An example is one sequence for a decoder with a prefix mask: the given tokens, then those to predict. Its random choices
are integers from a hash of the seed and the position, so they are the same on every machine.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.recipe.objectives import (
    MODES,
    CausalObjective,
    MixtureObjective,
    Objective,
    OnDocuments,
    OnExamples,
    PrefixObjective,
    SpanObjective,
    count_spans,
    example_length,
    extra_tokens,
)

Ids = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]


class Examples(NamedTuple):
    """B examples of M + 1 tokens: the model's inputs are tokens 0 to M − 1, its targets tokens 1 to M."""

    tokens: Ids
    """int32 [B, M + 1]."""
    scored: npt.NDArray[np.bool_]
    """[B, M + 1]: whether the token is predicted; never the first."""
    prefix: Ids
    """[B]: the length of the prefix, whose positions all see each other."""


def make_examples(
    objective: Objective, windows: Ids, positions: npt.NDArray[np.int64], *, seed: int, vocabulary_size: int, eod: int
) -> Examples:
    """Returns the examples of windows [B, T + 1], T at least 2, at `positions` [B] in the order of the run.

    Every token of a window occurs once in its example. Sentinel i is token vocabulary_size + i; the mode tokens follow
    the sentinels. All tokens after the prefix are predicted, except the padding with `eod` at the end of examples
    shorter than M + 1. M is `example_length`.
    """
    count, size = windows.shape
    assert not isinstance(objective, OnExamples), "an objective on documents"
    assert windows.dtype == np.int32, "tokens are int32"
    assert size >= 3, "a window has at least three tokens"
    assert positions.shape == (count,), "each window has a position"
    places = example_length(objective, size - 1) + 1
    tokens = np.full((count, places), eod, np.int32)
    prefix, length = np.zeros((2, count), np.int32)
    for row, (window, position) in enumerate(zip(windows, positions.tolist(), strict=True)):
        example, prefix[row] = _example(objective, window, _words(seed, position, size), vocabulary_size, eod)
        length[row] = len(example)
        tokens[row, : len(example)] = example
    place = np.arange(places)
    scored = (place >= np.maximum(prefix, 1)[:, None]) & (place < length[:, None])
    return Examples(tokens, scored, prefix)


def make_prompt(objective: Objective, tokens: Ids, *, vocabulary_size: int, sequence_length: int) -> tuple[Ids, int]:
    """Returns the prompt (int32 [P']) that makes a model continue `tokens` [P], and the length of its prefix.

    A model of a mixture continues as its S denoiser does; one of spans fills a span after all of `tokens`.
    """
    match objective:
        case PrefixObjective():
            return tokens, len(tokens)
        case SpanObjective():
            return np.append(tokens, [vocabulary_size] * 2).astype(np.int32), len(tokens) + 1
        case MixtureObjective():
            first_mode = vocabulary_size + extra_tokens(objective, sequence_length) - len(MODES)
            mode = first_mode + MODES.index("S")
            return np.insert(tokens, 0, mode).astype(np.int32), len(tokens) + 1
        case _:
            return tokens, 0


def make_infill(
    objective: Objective, before: Ids, after: Ids, *, vocabulary_size: int, sequence_length: int
) -> tuple[Ids, int] | None:
    """Returns the prompt (int32 [P]) that makes a model generate what stands between two texts, and the length of its
    prefix; None if the objective has no spans.

    A model of a mixture fills the gap as the first of its denoisers with spans does.
    """
    mode: list[int] = []
    if isinstance(objective, MixtureObjective):
        modes = [MODES.index(denoiser.mode) for denoiser in objective.denoisers if denoiser.mean_span is not None]
        mode = [vocabulary_size + extra_tokens(objective, sequence_length) - len(MODES) + place for place in modes[:1]]
    if not mode and not isinstance(objective, SpanObjective):
        return None
    given = [*mode, *before, vocabulary_size, *after]
    return np.array([*given, vocabulary_size], np.int32), len(given)


def _example(objective: OnDocuments, window: Ids, words: Words, vocabulary_size: int, eod: int) -> tuple[Ids, int]:
    """Returns one example without padding, and the length of its prefix."""
    match objective:
        case CausalObjective():
            return window, 0
        case PrefixObjective():
            return window, 1 + _below(words[0], len(window) - 2)
        case SpanObjective():
            return _corrupt(window, words, objective.noise, objective.mean_span, vocabulary_size, eod)
        case MixtureObjective():
            denoiser = objective.denoisers[_below(words[0], len(objective.denoisers))]
            if denoiser.mean_span is None:
                body, prefix = window, len(window) - _suffix(words[1], len(window), denoiser.noise)
            else:
                body, prefix = _corrupt(window, words[1:], denoiser.noise, denoiser.mean_span, vocabulary_size, eod)
            first_mode = vocabulary_size + extra_tokens(objective, len(window) - 1) - len(MODES)
            return np.insert(body, 0, first_mode + MODES.index(denoiser.mode)), prefix + 1


def _suffix(word: np.uint64, window: int, noise: float) -> int:
    """Returns how many tokens at a window's end the S denoiser predicts.

    The number is uniform from 1 to 2 · noise · window − 1, so noise · window on average. The bound is at most window −
    1; if noise is above one half, the average stays half a window.
    """
    longest = round(2 * noise * window) - 1
    return 1 + _below(word, min(max(longest, 1), window - 1))


def _corrupt(window: Ids, words: Words, noise: float, mean_span: float, sentinels: int, eod: int) -> tuple[Ids, int]:
    """Applies span corruption (T5, arXiv 1910.10683, section 3.1.4); returns one sequence and the length of its first
    part.

        gap, sentinel 0, gap, sentinel 1, … gap    what is kept of the window, with a sentinel for each span
        sentinel 0, span, sentinel 1, span, … end of document

    The lengths of the spans, and those of the gaps, are uniform among all with the right sum. As in T5, every gap
    before a span has a token; unlike T5, a possibly empty gap follows the last span. T5's windows always end with a
    span, so a single span, as in short windows or with UL2's long spans, would have the same place in every window.
    """
    noise_tokens, spans = count_spans(len(window), noise, mean_span)
    of_spans, of_gaps = np.split(words[: len(window) - 1], [noise_tokens - 1])
    span_lengths, gap_lengths = _composition(of_spans, spans), _composition(of_gaps, spans + 1)
    gap_lengths[-1] -= 1
    lengths = np.insert(gap_lengths, np.arange(1, spans + 1), span_lengths)
    is_noise = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    ids = sentinels + np.arange(spans)
    kept = np.insert(window[~is_noise], np.cumsum(gap_lengths[:-1]), ids)
    predicted = np.insert(window[is_noise], np.cumsum(span_lengths) - span_lengths, ids)
    return np.concatenate([kept, predicted, np.array([eod], np.int32)]), len(kept)


def _composition(words: Words, parts: int) -> npt.NDArray[np.int64]:
    """Returns a uniformly random way to write len(words) + 1 as an ordered sum of `parts` positive numbers.

    The cuts are at the positions of the parts − 1 smallest words.
    """
    cuts = 1 + np.sort(np.argsort(words, kind="stable")[: parts - 1])
    return np.diff(cuts, prepend=0, append=len(words) + 1)


def _below(word: np.uint64, bound: int) -> int:
    """Returns a number in [0, bound), uniform to within bound / 2^64."""
    return int(word) * bound >> 64


def _words(seed: int, position: int, count: int) -> Words:
    """Returns the first `count` random words of a position: SHAKE-128 of the seed and the position."""
    stream = hashlib.shake_128(f"objective {seed} {position}".encode()).digest(8 * count)
    return np.frombuffer(stream, "<u8").astype(np.uint64)
