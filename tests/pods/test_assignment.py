"""Every leaf is computed once, and sums are added in the same tree, whichever pods live."""

import functools
import operator

from hypothesis import given
from hypothesis import strategies as st

from palmetto.pods.assignment import assign, leaves_of, pair_up, reassign

PODS = st.integers(0, 3).map(lambda bits: 1 << bits)


@st.composite
def living_pods(draw: st.DrawFn) -> tuple[int, set[int]]:
    pods = draw(PODS)
    return pods, set(draw(st.lists(st.sampled_from(range(pods)), min_size=1, unique=True)))


@given(living_pods())
def test_parts_are_divided_evenly_over_living_pods(given_: tuple[int, set[int]]) -> None:
    pods, living = given_
    owners = assign(pods, living)
    assert sorted(owners) == list(range(pods))
    assert set(owners.values()) == living
    assert all(owners[pod] == pod for pod in living)
    loads = [list(owners.values()).count(pod) for pod in living]
    assert max(loads) - min(loads) <= 1


@given(living_pods(), st.randoms())
def test_every_part_has_an_owner_after_any_losses(given_: tuple[int, set[int]], chance: object) -> None:
    pods, living = given_
    owners = assign(pods, living)
    while len(living) > 1:
        lost = chance.choice(sorted(living))  # type: ignore[attr-defined]
        living.remove(lost)
        orphans = [part for part, owner in owners.items() if owner == lost]
        new = reassign(orphans, owners, living)
        assert sorted(new) == sorted(orphans)
        owners |= new
        assert set(owners.values()) <= living


@given(PODS, st.integers(0, 4).map(lambda bits: 1 << bits))
def test_the_parts_hold_every_leaf_once_in_order(parts: int, each: int) -> None:
    leaves = [leaf for part in range(parts) for leaf in leaves_of(part, parts, parts * each)]
    assert leaves == list(range(parts * each))


@given(PODS, st.integers(0, 3).map(lambda bits: 1 << bits))
def test_the_tree_over_parts_is_the_tree_over_leaves(parts: int, each: int) -> None:
    def tree(leaves: range) -> str:
        return pair_up([str(leaf) for leaf in leaves], lambda a, b: f"({a}+{b})")

    subtrees = [tree(leaves_of(part, parts, parts * each)) for part in range(parts)]
    assert pair_up(subtrees, lambda a, b: f"({a}+{b})") == tree(range(parts * each))
    assert pair_up(list(range(parts)), operator.add) == functools.reduce(operator.add, range(parts))
