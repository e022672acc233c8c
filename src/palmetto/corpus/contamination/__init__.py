"""What of evaluation sets is in the training data, and where."""

from palmetto.corpus.contamination.examples import Example, find_sets, other_files, read_examples
from palmetto.corpus.contamination.stage import Contamination

__all__ = ["Contamination", "Example", "find_sets", "other_files", "read_examples"]
