"""Joins a prompt with its continuation in token ids, by one written rule.

White space at the end of the prompt belongs to the continuation. The joined text is encoded as a whole and cut where
the prompt, encoded by itself, would end. If a token spans the join, the cut falls before or after it; the continuation
keeps at least the last token of the whole. [eod] stands in front, once.
"""

from typing import NamedTuple

from palmetto.tokens.vocabulary import Vocabulary


class Joined(NamedTuple):
    """Holds a prompt and its continuation as ids."""

    context: tuple[int, ...]
    """The ids of the prompt, [eod] first."""
    continuation: tuple[int, ...]
    """The ids of the continuation, at least one unless its text is empty."""
    spans: bool
    """True if a token of the whole spans the join."""


def join(vocabulary: Vocabulary, context: str, continuation: str) -> Joined:
    """Returns the ids of a prompt and its continuation."""
    bare = context.rstrip()
    alone, whole = (
        tuple(map(int, ids)) for ids in vocabulary.encode_all([bare, bare + context[len(bare) :] + continuation])
    )
    cut = len(alone) if len(alone) < len(whole) else max(0, len(whole) - 1)
    return Joined((vocabulary.beginning, *whole[:cut]), whole[cut:], whole[: len(alone)] != alone)
