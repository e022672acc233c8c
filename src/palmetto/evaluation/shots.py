"""Chooses the examples that are shown in front of a question."""

import hashlib
import random
from collections.abc import Sequence

from palmetto.evaluation.tasks.task import Example, Task


def choose(pool: Sequence[Example], count: int, seed: int, example: str, in_order: bool) -> list[Example]:
    """Returns up to `count` shots for an example: a pure function of the pool, the seed and the example's id.

    `in_order` takes the first ones.
    """
    count = min(count, len(pool))
    if in_order:
        return list(pool[:count])
    digest = hashlib.sha256(f"{seed}\0{example}".encode()).digest()
    return random.Random(int.from_bytes(digest)).sample(pool, count)


def shown(task: Task, shots: Sequence[Example]) -> list[tuple[str, ...]]:
    """Returns the worked examples in front of a question: all, and then ever fewer, down to none.

    Of exemplars, which are in an order of their own, the first are left out first; of shots, the last.
    """
    texts = (*task.exemplars, *(shot.demonstration + shot.separator for shot in shots))
    counts = range(len(texts), -1, -1)
    return [texts[len(texts) - count :] if task.exemplars else texts[:count] for count in counts]
