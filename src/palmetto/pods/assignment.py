"""Assigns the parts of a batch to pods, by pure functions.

The leaves of a batch are divided, in order, into as many equal parts as there are pods. Each part is a subtree of the
gradient's tree. Its sums have the same bits whichever pod computes them, and they are added in the same tree.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def assign(parts: int, living: Collection[int]) -> dict[int, int]:
    """Returns the pod of each part. A living pod gets the part of its own number; the parts of other pods go to the
    living pods with the fewest parts, of equal ones to that with the lowest number."""
    owners = {part: part for part in range(parts) if part in living}
    return owners | reassign([part for part in range(parts) if part not in living], owners, living)


def reassign(orphans: Collection[int], owners: Mapping[int, int], living: Collection[int]) -> dict[int, int]:
    """Returns new owners, living pods, for the parts of lost pods; `owners` maps every part to its present pod."""
    assert living
    load = {pod: sum(owner == pod for part, owner in owners.items() if part not in orphans) for pod in sorted(living)}
    new = {}
    for part in sorted(orphans):
        new[part] = min(load, key=load.__getitem__)
        load[new[part]] += 1
    return new


def leaves_of(part: int, parts: int, leaves: int) -> range:
    """Returns the numbers of a part's leaves."""
    each, rest = divmod(leaves, parts)
    assert rest == 0, "every part is a whole subtree"
    return range(part * each, (part + 1) * each)


def pair_up(terms: Sequence[T], add: Callable[[T, T], T]) -> T:
    """Adds the sums of the parts in the gradient's tree, neighbours first."""
    assert terms
    assert len(terms) & (len(terms) - 1) == 0, "the number of parts is a power of two"
    while len(terms) > 1:
        terms = [add(terms[i], terms[i + 1]) for i in range(0, len(terms), 2)]
    return terms[0]
