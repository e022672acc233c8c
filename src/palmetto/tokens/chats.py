"""Turns the text of a chat into ids."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from palmetto.recipe.chat_template import Piece
from palmetto.tokens.vocabulary import Ids, Vocabulary


def encode_chat(pieces: Sequence[Piece], vocabulary: Vocabulary) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Returns the ids of a chat, int32 [T], and which of them the assistant wrote, bool [T].

    [eod] stands where a piece ends with it, and not in front: whoever begins a document puts it there.
    """
    of_pieces = [
        [*ids.tolist(), *([vocabulary.eod] if piece.ends else [])]
        for piece, ids in zip(pieces, vocabulary.encode_all([piece.text for piece in pieces]), strict=True)
    ]
    ids = np.array([id for own in of_pieces for id in own], np.int32)
    answers = [piece.answer for piece, own in zip(pieces, of_pieces, strict=True) for _ in own]
    return ids, np.array(answers, np.bool_)
