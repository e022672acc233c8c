"""Which pod does what: pure functions.

The leaves of a batch are divided into as many equal parts as there are pods, in order, each a subtree of the
gradient's tree. Whoever computes a part, its sums have the same bits, and they are added in the same tree.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def assign(parts: int, living: Collection[int]) -> dict[int, int]:
    """Part → pod. Each living pod has the part of its own number; the others' go to who has least, lowest first."""
    owners = {part: part for part in range(parts) if part in living}
    return owners | reassign([part for part in range(parts) if part not in living], owners, living)


def reassign(orphans: Collection[int], owners: Mapping[int, int], living: Collection[int]) -> dict[int, int]:
    """New owners for parts whose pods are lost, given who has what."""
    assert living, "without a pod there is nobody to do it"
    load = {pod: sum(owner == pod for part, owner in owners.items() if part not in orphans) for pod in sorted(living)}
    new = {}
    for part in sorted(orphans):
        new[part] = min(load, key=load.__getitem__)
        load[new[part]] += 1
    return new


def leaves_of(part: int, parts: int, leaves: int) -> range:
    """The numbers of a part's leaves."""
    each, rest = divmod(leaves, parts)
    assert rest == 0, "every part is a whole subtree"
    return range(part * each, (part + 1) * each)


def pair_up(terms: Sequence[T], add: Callable[[T, T], T]) -> T:
    """The parts' sums added in the gradient's tree: neighbours first."""
    assert terms, "an empty sum has no tree"
    assert len(terms) & (len(terms) - 1) == 0, "the number of parts is a power of two"
    while len(terms) > 1:
        terms = [add(terms[i], terms[i + 1]) for i in range(0, len(terms), 2)]
    return terms[0]
