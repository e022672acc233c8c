"""Turns the text of a chat into ids."""

from collections.abc import Iterable, Sequence

import numpy as np

from palmetto.recipe.segments import Segment
from palmetto.tokens.vocabulary import Ids, Vocabulary


def encode_chat(segments: Sequence[Segment], vocabulary: Vocabulary) -> Ids:
    """Returns the ids of a chat, int32 [T], without those in front of every document."""
    encoded = vocabulary.encode_all([segment.text for segment in segments])
    return np.concatenate([np.array([], np.int32), *with_specials(segments, encoded, vocabulary)])


def with_specials(segments: Sequence[Segment], encoded: Iterable[Ids], vocabulary: Vocabulary) -> list[Ids]:
    """Returns the ids of each segment, int32 [T], with the special token behind it; takes those of their texts.

    Whoever begins a document puts its beginning in front, so that one which the template writes there is left out.
    """
    found = list[Ids]()
    for segment, ids in zip(segments, encoded, strict=False):
        special = [vocabulary.special(segment.special)] if segment.special else [vocabulary.eod] * segment.ends
        if not found and segment.special and not segment.text and special == [vocabulary.beginning]:
            special = []
        found.append(np.concatenate([ids, np.array(special, np.int32)]))
    return found
