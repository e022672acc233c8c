"""Turns the text of a chat into ids."""

from collections.abc import Sequence

import numpy as np

from palmetto.recipe.segments import Segment
from palmetto.tokens.vocabulary import Ids, Vocabulary


def encode_chat(segments: Sequence[Segment], vocabulary: Vocabulary) -> Ids:
    """Returns the ids of a chat, int32 [T].

    [eod] stands where a segment ends with it, and not in front: whoever begins a document puts it there, so that a
    template's own beginning is left out.
    """
    encoded = vocabulary.encode_all([segment.text for segment in segments])
    pairs = zip(encoded, segments, strict=True)
    ids = [id for found, segment in pairs for id in (*found.tolist(), *behind(segment, vocabulary))]
    written = bool(segments) and not segments[0].text and bool(segments[0].special)
    return np.array(ids[1:] if written and ids[0] == vocabulary.beginning else ids, np.int32)


def behind(segment: Segment, vocabulary: Vocabulary) -> list[int]:
    """Returns the ids of the special tokens that stand after a segment: one or none."""
    if segment.special:
        return [vocabulary.special(segment.special)]
    return [vocabulary.eod] * segment.ends
