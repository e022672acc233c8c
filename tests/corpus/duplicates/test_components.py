"""Compares connected components with a search from node to node."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palmetto.corpus.duplicates.components import components

edges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=40)


@given(edges)
def test_components_are_what_a_search_reaches(edges: list[tuple[int, int]]) -> None:
    neighbours: dict[int, set[int]] = {}
    for a, b in edges:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    expected = {}
    for node in sorted(neighbours):
        reached, new = {node}, {node}
        while new:
            new = set.union(*(neighbours[each] for each in new)) - reached
            reached |= new
        expected[node] = min(reached)
    ends = np.array(edges, np.uint64).reshape(-1, 2)
    nodes, labels = components(ends[:, 0], ends[:, 1])
    assert dict(zip(nodes.tolist(), labels.tolist(), strict=True)) == expected


def test_a_long_chain_is_one() -> None:
    numbers = np.random.default_rng(0).permutation(100_000).astype(np.uint64)
    nodes, labels = components(numbers[1:], numbers[:-1])
    assert len(nodes) == 100_000
    assert not labels.any()
