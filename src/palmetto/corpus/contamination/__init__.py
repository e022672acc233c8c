"""Finds the examples of evaluation sets that occur in the training data, and the documents they occur in."""

from palmetto.corpus.contamination.examples import Example, find_sets, other_files, read_examples
from palmetto.corpus.contamination.stage import Contamination

__all__ = ["Contamination", "Example", "find_sets", "other_files", "read_examples"]
