"""Chooses the examples that are shown in front of a question."""

import hashlib
import random
from collections.abc import Sequence

from palmetto.evaluation.tasks.task import Example


def choose(pool: Sequence[Example], count: int, seed: int, example: str, in_order: bool) -> list[Example]:
    """Returns up to `count` shots for an example: a pure function of the pool, the seed and the example's id.

    `in_order` takes the first ones.
    """
    count = min(count, len(pool))
    if in_order:
        return list(pool[:count])
    digest = hashlib.sha256(f"{seed}\0{example}".encode()).digest()
    return random.Random(int.from_bytes(digest)).sample(pool, count)


def prompt(instruction: str, shots: Sequence[Example], context: str) -> str:
    """Returns the text in front of a continuation: instruction, shots, and the question itself."""
    return instruction + "".join(shot.demonstration + shot.separator for shot in shots) + context
