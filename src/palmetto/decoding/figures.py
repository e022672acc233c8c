"""The counts of an engine, from which metrics are made."""

from typing import NamedTuple


class Figures(NamedTuple):
    """Holds counts of an engine, some of now and some since it was made."""

    running: int
    """The number of sequences that run."""
    waiting: int
    """The number of sequences that wait."""
    rows: int
    """The number of rows that the last step used."""
    blocks_used: int
    """The number of blocks that sequences hold."""
    blocks_cached: int
    """The number of blocks that are kept for their content only."""
    blocks_free: int
    """The number of blocks that are neither."""
    paged_bytes: int
    """The bytes of the blocks that sequences hold."""
    contiguous_bytes: int
    """The bytes that as many running sequences would take if each had memory of its own for the longest."""
    hits: int
    """The number of positions since the start that were found in the cache, and so not computed."""
    preemptions: int
    drafted: int
    """The number of guessed tokens since the start."""
    accepted: int
    """The number of these that were drawn."""
