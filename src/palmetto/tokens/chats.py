"""Turns the text of a chat into ids."""

from collections.abc import Sequence

import numpy as np

from palmetto.recipe.segments import Segment
from palmetto.tokens.vocabulary import Ids, Vocabulary


def encode_chat(segments: Sequence[Segment], vocabulary: Vocabulary) -> Ids:
    """Returns the ids of a chat, int32 [T].

    [eod] stands where a segment ends with it, and not in front: whoever begins a document puts it there.
    """
    encoded = vocabulary.encode_all([segment.text for segment in segments])
    ends = [[vocabulary.eod] * segment.ends for segment in segments]
    return np.array([id for ids, end in zip(encoded, ends, strict=True) for id in (*ids.tolist(), *end)], np.int32)
