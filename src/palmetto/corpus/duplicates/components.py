"""Finds the connected components of a graph of documents."""

import numpy as np

from palmetto.corpus.duplicates.keyed import Numbers


def components(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
    """Returns the nodes of the edges a[i]–b[i], sorted, and for each the smallest node of its component.

    All edges are processed at a time: the larger of two labels takes the smaller one, until both ends of every edge
    agree (Shiloach, Vishkin, 1982). The order of the edges does not matter.
    """
    nodes, places = np.unique(np.concatenate([a, b]), return_inverse=True)
    left, right = places[: len(a)], places[len(a) :]
    labels = np.arange(len(nodes))
    while len(left):
        lower, upper = np.minimum(labels[left], labels[right]), np.maximum(labels[left], labels[right])
        apart = lower != upper
        left, right = left[apart], right[apart]
        np.minimum.at(labels, upper[apart], lower[apart])
        while (labels[labels] != labels).any():
            labels = labels[labels]
    return nodes, nodes[labels]
